"""Names under which a graph module holds tensors and other modules: dotted paths of attributes."""

import re
from collections.abc import Iterable
from functools import cache
from keyword import iskeyword

from torch import fx

_MODULE = fx.GraphModule({}, fx.Graph())  # has what every such module has: `graph`, `half`, `training`


class Names:
    """Names that are taken; none of them lies on the path to another."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._held: set[str] = set()
        self._owners: set[str] = set()
        for name in taken:
            self._take(name)

    def add(self, wanted: str) -> str:
        """Take a name: the wanted one, or that with underscores where a module could not have it."""
        first, *rest = map(_writable, wanted.split("."))
        while self._is_taken(name := ".".join((first, *rest))):
            first += "_"
        self._take(name)
        return name

    def _take(self, name: str) -> None:
        self._held.add(name)
        self._owners.update(_owners(name))

    def _is_taken(self, name: str) -> bool:
        return name in self._held or name in self._owners or not self._held.isdisjoint(_owners(name))


def _owners(name: str) -> list[str]:
    """The paths of the modules that a path leads through."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@cache
def _writable(part: str) -> str:
    """An attribute that generated code can name, and that no module has of its own."""
    part = re.sub(r"\W", "_", part, flags=re.ASCII) or "_"
    while iskeyword(part) or hasattr(_MODULE, part):
        part += "_"
    return part
