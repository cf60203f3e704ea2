"""Places that a program rebinds at its calls: what is in them is known by its form, and read anew at each call."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fxsolve.state.places import Place, is_filled_in_place, is_open, items_of, paths_in
from fxsolve.state.stores import Live, Read, Stores
from fxsolve.state.tokens import token_of


class LiveSet:
    """The places that recordings of one program were seen to rebind; it only grows.

    Some are `made`: of calls of some kinds the program sets them before it looks at them. A kind is what a key tells
    besides these places.
    """

    def __init__(self) -> None:
        self._owners: dict[tuple[int, str], Any] = {}  # keeps the owners alive, and so their ids unique
        self._counters: set[tuple[int, str]] = set()
        self._made: dict[tuple[int, str], Place] = {}
        self._made_by: dict[Hashable, frozenset[tuple[int, str]]] = {}

    @property
    def count(self) -> int:
        return len(self._owners) + len(self._counters) + len(self._made)

    def add(self, stores: Stores) -> bool:
        """Whether keys are others from now on, or may be."""
        before = self.count
        self._owners.update((place.identity, place.owner) for place in (*stores.kept, *stores.counters))
        self._counters.update(place.identity for place in stores.counters)
        self._made.update((place.identity, place) for place in stores.made)
        return self.count > before or bool(self._made)

    def settle(self, kind: Hashable, stores: Stores) -> None:
        """A recording of a call of this kind has shown what the program makes there."""
        proved = frozenset(place.identity for place in stores.made)
        self._made_by[kind] = proved & self._made_by.get(kind, proved)

    def identities(self) -> frozenset[tuple[int, str]]:
        return frozenset(self._owners)

    def counters(self) -> frozenset[tuple[int, str]]:
        """Those whose numbers make no difference."""
        return frozenset(self._counters)

    def made(self) -> tuple[Place, ...]:
        """Those that calls of some kinds make."""
        return tuple(self._made.values())

    def made_by(self, kind: Hashable) -> frozenset[tuple[int, str]]:
        """Those that make no difference to calls of this kind."""
        return self._made_by.get(kind, frozenset())


@dataclass(frozen=True)
class LiveState:
    """What live places hold: equal tokens mean equal structure.

    Tensors that nothing else holds, and numbers that are only added to, are left open. `live` tells where the tensors
    were found, as long as the places hold the same.
    """

    tokens: tuple[Hashable, ...]
    tensors: tuple[Tensor, ...]
    find: Callable[[], Live]

    @property
    def live(self) -> Live:
        return self.find()


NO_STATE = LiveState((), (), Live)


def read_live(live: LiveSet, places: Iterable[Place], fixed: frozenset[int], kind: Hashable) -> LiveState:
    """Look at what these places hold now; `fixed` are the ids of the tensors that other places hold."""
    made, ignored = live.made(), live.made_by(kind)
    reader, counters = _Reader(fixed, live.counters()), live.counters()
    sometimes = {place.identity for place in made}
    # Those that are made by some calls only are told apart even by whether they are there.
    chosen = (*(place for place in places if place.identity not in sometimes), *made)
    tokens = tuple((one.key, reader.token(one, one.read())) for one in chosen if one.identity not in ignored)

    def find() -> Live:
        reads = (Read(place, path) for place in chosen for path, value in paths_in(place.read()) if _is_open(value))
        return Live(live.identities(), tuple(reads), counters, made)

    def _is_open(value: Any) -> bool:
        return isinstance(value, Tensor) and id(value) not in fixed

    return LiveState(tokens, tuple(reader.tensors), find)


class _Reader:
    def __init__(self, fixed: frozenset[int], counters: frozenset[tuple[int, str]]) -> None:
        self.tensors: list[Tensor] = []
        self._fixed = fixed
        self._counters = counters
        self._numbers: dict[int, int] = {}  # tells whether two containers are one

    def token(self, place: Place, value: Any) -> Hashable:
        if type(value) in (int, float) and place.identity in self._counters:
            return type(value)
        return self._token(value, 0)

    def _token(self, value: Any, depth: int) -> Hashable:
        if isinstance(value, Tensor) and id(value) not in self._fixed:
            self.tensors.append(value)
            return Tensor
        if not is_open(value, depth):
            return token_of(value, depth)
        if is_filled_in_place(value):
            if id(value) in self._numbers:
                return type(value), self._numbers[id(value)]
            self._numbers[id(value)] = len(self._numbers)
        keys = tuple(map(token_of, value)) if isinstance(value, dict) else ()
        return type(value), keys, tuple([self._token(item, depth + 1) for item in items_of(value)])
