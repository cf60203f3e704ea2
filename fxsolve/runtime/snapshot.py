"""What a look at a program saw, as flat lists: to read them once more tells whether all of it is still so."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from operator import attrgetter, eq, is_, itemgetter
from typing import Any

from torch import Tensor, nn

from fxsolve.runtime.tokens import PLAIN, State
from fxsolve.tracer.places import MISSING, Place

FORMS = tuple(map(attrgetter, ("dtype", "device", "shape")))
_wants_gradient = attrgetter("requires_grad")


@dataclass(frozen=True)
class Pairs:
    """What was `values[k] = read(owners[k], keys[k])`, by `getitem` of dicts or `getattr` of other objects."""

    read: Callable[[Any, str], Any]
    owners: tuple[Any, ...]
    keys: tuple[str, ...]
    values: list[Any]

    def is_current(self) -> bool:
        return all(map(is_, map(self.read, self.owners, self.keys), self.values))


@dataclass(frozen=True)
class Snapshot:
    """While all of this is as it was, the state of the program is the same.

    `pairs` are what was in all places but in the `live` ones, which the program rebinds, and `sizes` how many places
    there were in each of `dicts`. Nothing was in `owner[name]` for the owners of `empty[name]`. `tensors`, and `deep`,
    which are containers and settings that may change by their `token`, are among what was found; `fixed` are the ids of
    all tensors. `communicates` says which part communicates with other processes, if one does.
    """

    modules: tuple[nn.Module, ...]
    types: list[type]
    dicts: tuple[dict[str, Any], ...]
    sizes: list[int]
    pairs: tuple[Pairs, ...]
    empty: dict[str, tuple[dict[str, Any], ...]]
    tensors: tuple[Tensor, ...]
    forms: list[list[Any]]
    deep: tuple[Any, ...]
    deep_tokens: list[Hashable]
    live: tuple[Place, ...]
    token: Callable[[Any], Hashable]
    fixed: frozenset[int]
    state: State
    communicates: str

    def is_current(self) -> bool:
        try:
            return self._holds_same() and self._has_same_forms()
        except (KeyError, AttributeError, ValueError):  # an attribute or the value of a cell is gone
            return False

    def _holds_same(self) -> bool:
        return (
            all(pairs.is_current() for pairs in self.pairs)
            and list(map(len, self.dicts)) == self.sizes
            and not any(any(map(itemgetter(name), owners)) for name, owners in self.empty.items())
            and list(map(type, self.modules)) == self.types
            and all(place.read() is not MISSING for place in self.live)
        )

    def _has_same_forms(self) -> bool:
        # One list for each fact: most of the items are compared by identity then, and no tuples are made.
        forms = (list(map(form, self.tensors)) for form in FORMS)
        return all(map(eq, forms, self.forms)) and list(map(self.token, self.deep)) == self.deep_tokens

    def wanting(self) -> tuple[bool, ...]:
        """Which of the tensors want gradients now."""
        return tuple(map(_wants_gradient, self.tensors))

    def differs_in_plain_values(self, other: "Snapshot") -> bool:
        """Whether both hold the same objects, but for numbers, flags and the like."""
        ours, theirs = ([value for part in one.pairs for value in part.values] for one in (self, other))
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(a is b or {type(a), type(b)} <= PLAIN for a, b in pairs)
