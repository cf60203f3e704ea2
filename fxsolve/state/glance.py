"""What a look at a program saw, as flat lists: to read them once more tells whether all of it is still so."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.state.places import MAX_OBJECTS, MISSING, PLAIN, Place, everything_in, is_container, is_filled_in_place
from fxsolve.state.tokens import HashedState, is_settings
from fxsolve.torch_compat.tensors import FormCheck, form_check

_FORMS = tuple(map(attrgetter, ("dtype", "device", "shape")))
_OWN_TYPES = frozenset({Tensor, nn.Parameter})
_MANY = 8  # tensors
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
class Deep:
    """Containers and settings, which may change while they are the same objects.

    The `containers` among them and in them held the very `items`, of a dict the keys and the values. If they do no
    longer, or the settings in them have other tokens, `values` are the same as long as their `tokens` are.
    """

    values: tuple[Any, ...]
    tokens: list[Hashable]
    containers: tuple[Any, ...]
    items: list[tuple[Any, ...]]
    settings: tuple[Any, ...]
    settings_tokens: list[Hashable]
    token: Callable[[Any], Hashable]

    def is_current(self) -> bool:
        # To compare items by identity takes 20 ns each, to make tokens 500 ns.
        if all(map(_holds, self.containers, self.items)) and self._tokens(self.settings) == self.settings_tokens:
            return True
        return self._tokens(self.values) == self.tokens

    def _tokens(self, values: tuple[Any, ...]) -> list[Hashable]:
        return list(map(self.token, values))


def look_into(values: tuple[Any, ...], token: Callable[[Any], Hashable]) -> tuple[Deep, list[Tensor]]:
    """What these containers and settings hold, and the tensors among it."""
    inside = list({id(one): one for value in values for one in everything_in(value)}.values())
    containers = tuple(one for one in inside if is_filled_in_place(one))
    settings = tuple(one for value in values for one in _settings_in(value))
    deep = Deep(
        values, list(map(token, values)), containers, list(map(_contents, containers)), settings,
        list(map(token, settings)), token,
    )  # fmt: skip
    return deep, [one for one in inside if isinstance(one, Tensor)]


def _settings_in(value: Any) -> list[Any]:
    """Unless these are many."""
    found = [one for one in everything_in(value) if is_settings(one) and not is_container(one)]
    return found if len(found) <= MAX_OBJECTS else []


def _contents(container: Any) -> tuple[Any, ...]:
    return (*container, *container.values()) if isinstance(container, dict) else tuple(container)


def _holds(container: Any, items: tuple[Any, ...]) -> bool:
    now: Iterable[Any] = chain(container, container.values()) if isinstance(container, dict) else container
    held = 2 * len(container) if isinstance(container, dict) else len(container)
    return held == len(items) and all(map(is_, now, items))


@dataclass(frozen=True)
class TensorForms:
    """The dtypes, devices and shapes that tensors had, which of them wanted gradients, and a check of all in C++."""

    facts: list[list[Any]]
    wanted: tuple[bool, ...]
    check: FormCheck | None

    def wanting(self, tensors: tuple[Tensor, ...]) -> tuple[bool, ...] | None:
        """Which of the tensors want gradients; None where their forms are not these."""
        if self.check is not None and self.check(tensors):
            return self.wanted
        # What fails the check may still have the same forms, where strides or wishes for gradients are others.
        return tuple(map(_wants_gradient, tensors)) if _facts(tensors) == self.facts else None


def look_at(tensors: tuple[Tensor, ...]) -> TensorForms:
    """The forms of tensors; C++ knows those of torch's own types, and is of use where there are many."""
    is_known = all(type(one) in _OWN_TYPES and one.layout == torch.strided for one in tensors)
    check = form_check(tensors) if is_known and len(tensors) >= _MANY else None
    return TensorForms(_facts(tensors), tuple(map(_wants_gradient, tensors)), check)


def _facts(tensors: tuple[Tensor, ...]) -> list[list[Any]]:
    """One list for each fact: most of the items are compared by identity then, and no tuples are made."""
    return [list(map(form, tensors)) for form in _FORMS]


@dataclass(frozen=True)
class StateKey:
    """While all of this is as it was, the state of the program is the same.

    `pairs` are what was in all places but in the `live` ones, which the program rebinds, and `sizes` how many places
    there were in each of `dicts`. Nothing was in `owner[name]` for the owners of `empty[name]`. `tensors`, and what is
    `deep`, are among what was found; `fixed` are the ids of all tensors. `communicates` says which part communicates
    with other processes, if one does.
    """

    modules: tuple[nn.Module, ...]
    types: list[type]
    dicts: tuple[dict[str, Any], ...]
    sizes: list[int]
    pairs: tuple[Pairs, ...]
    empty: dict[str, tuple[dict[str, Any], ...]]
    tensors: tuple[Tensor, ...]
    forms: TensorForms
    deep: Deep
    live: tuple[Place, ...]
    fixed: frozenset[int]
    state: HashedState
    communicates: str

    def look(self) -> tuple[bool, ...] | None:
        """Which of the tensors want gradients now; None if anything is not as it was."""
        try:
            wanting = self.forms.wanting(self.tensors) if self._holds_same() else None
            return wanting if wanting is not None and self.deep.is_current() else None
        except (KeyError, AttributeError, ValueError):  # an attribute or the value of a cell is gone
            return None

    def _holds_same(self) -> bool:
        return (
            all(pairs.is_current() for pairs in self.pairs)
            and list(map(len, self.dicts)) == self.sizes
            and not any(any(map(itemgetter(name), owners)) for name, owners in self.empty.items())
            and list(map(type, self.modules)) == self.types
            and all(place.read() is not MISSING for place in self.live)
        )

    def differs_in_plain_values(self, other: "StateKey") -> bool:
        """Whether both hold the same objects, but for numbers, flags and the like."""
        ours, theirs = ([value for part in one.pairs for value in part.values] for one in (self, other))
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(a is b or {type(a), type(b)} <= PLAIN for a, b in pairs)
