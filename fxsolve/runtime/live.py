"""Places that a program rebinds at its calls: what is in them is known by its form, and read anew at each call."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fxsolve.runtime.tokens import token_of
from fxsolve.tracer.places import Place, is_open
from fxsolve.tracer.stores import NO_LIVE, Live, Read


class LiveSet:
    """The places that recordings of one program were seen to rebind; it only grows."""

    def __init__(self) -> None:
        self._owners: dict[tuple[int, str], Any] = {}  # keeps the owners alive, and so their ids unique
        self._counters: set[tuple[int, str]] = set()

    @property
    def count(self) -> int:
        return len(self._owners) + len(self._counters)

    def add(self, places: tuple[Place, ...], counters: tuple[Place, ...]) -> bool:
        """Whether there was a new one; `counters` are places with numbers that are not read."""
        before = self.count
        self._owners.update((place.identity, place.owner) for place in (*places, *counters))
        self._counters.update(place.identity for place in counters)
        return self.count > before

    def identities(self) -> frozenset[tuple[int, str]]:
        return frozenset(self._owners)

    def counters(self) -> frozenset[tuple[int, str]]:
        """Those whose numbers make no difference."""
        return frozenset(self._counters)


@dataclass(frozen=True)
class LiveState:
    """What live places hold: equal tokens mean equal structure.

    Tensors that nothing else holds, and numbers that are only added to, are left open.
    """

    tokens: tuple[Hashable, ...]
    live: Live
    tensors: tuple[Tensor, ...]


NO_STATE = LiveState((), NO_LIVE, ())


def read_live(live: LiveSet, places: Iterable[Place], fixed: frozenset[int]) -> LiveState:
    """Look at what these places hold now; `fixed` are the ids of the tensors that other places hold."""
    counters = live.counters()
    reader = _Reader(fixed, counters)
    tokens = tuple((place.key, reader.token(place.read(), Read(place, ()))) for place in places)
    return LiveState(tokens, Live(live.identities(), tuple(reader.reads), counters), tuple(reader.tensors))


class _Reader:
    def __init__(self, fixed: frozenset[int], counters: frozenset[tuple[int, str]]) -> None:
        self.reads: list[Read] = []
        self.tensors: list[Tensor] = []
        self._fixed = fixed
        self._counters = counters
        self._numbers: dict[int, int] = {}  # tells whether two containers are one

    def token(self, value: Any, read: Read) -> Hashable:
        depth = len(read.path)
        if isinstance(value, Tensor) and id(value) not in self._fixed:
            self.reads.append(read)
            self.tensors.append(value)
            return Tensor
        if type(value) in (int, float) and not depth and read.place.identity in self._counters:
            return type(value)
        if not is_open(value, depth):
            return token_of(value, depth)
        number = self._numbers.setdefault(id(value), len(self._numbers)) if not isinstance(value, tuple) else 0
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = tuple((token_of(key), self.token(item, Read(read.place, (*read.path, key)))) for key, item in items)
        return type(value), number, parts
