"""Names of equation blocks, by the modules that they stand for."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import fx

from fxsolve.structure.grouping import Path


def owners_of(graph: fx.Graph) -> dict[str, Path]:
    """The path of the module that owns each attribute of a recorded graph; () for what the whole program owns."""
    return {node.name: _owner(str(node.target)) for node in graph.find_nodes(op="get_attr")}


def _owner(target: str) -> Path:
    # A parametrized weight belongs to the module that is parametrized.
    parts = target.partition(".parametrizations.")[0].split(".")
    return tuple(parts if ".parametrizations." in target else parts[:-1])


def names_of(prefix: str, paths: Sequence[Path]) -> list[str]:
    """A name for each block: the shortest path that no other module among them begins with, or its number."""
    beginnings = _beginnings(paths)
    taken: set[str] = set()
    return [_free(f"{prefix}.{own}", taken) for own in _own_names(paths, beginnings)]


def names_after(prefix: str, names: Iterable[str]) -> list[str]:
    """A name for each block behind a prefix: that of another one."""
    taken: set[str] = set()
    return [_free(f"{prefix}.{own}", taken) for own in names]


def _beginnings(paths: Sequence[Path]) -> Mapping[Path, set[Path]]:
    found: dict[Path, set[Path]] = {}
    for path in paths:
        for depth in range(1, len(path) + 1):
            found.setdefault(path[:depth], set()).add(path)
    return found


def _own_names(paths: Sequence[Path], beginnings: Mapping[Path, set[Path]]) -> Iterator[str]:
    for number, path in enumerate(paths):
        short = (path[:depth] for depth in range(1, len(path) + 1) if len(beginnings[path[:depth]]) == 1)
        yield re.sub(r"[^\w.]", "_", ".".join(next(short, path))) or str(number)


def _free(name: str, taken: set[str]) -> str:
    found = next(one for one in _numbered(name) if one not in taken)
    taken.add(found)
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
