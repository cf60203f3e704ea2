"""Hashable tokens of Python values: equal tokens mean that a recorded program may be used again."""

import functools
import weakref
from collections.abc import Hashable
from enum import Enum
from operator import attrgetter
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from fxsolve.state.places import MAX_NESTED, MAX_OBJECTS, PLAIN, is_container, is_filled_in_place

Identities = frozenset[tuple[int, str]]  # of places
form_of = attrgetter("dtype", "device", "shape")


class SameObject:
    """Stands for one object by identity, without keeping it alive."""

    __slots__ = ("_number", "_reference")

    def __init__(self, value: Any) -> None:
        self._number = id(value)
        self._reference = weakref.ref(value)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SameObject):
            return False
        value = self._reference()
        return self is other or (value is not None and value is other._reference())


class HashedState:
    """A hashable value that is hashed once."""

    __slots__ = ("_hash", "parts")

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, HashedState) and self.parts == other.parts)


def token_of(value: Any, depth: int = 0, live: Identities = frozenset()) -> Hashable:
    """A token of `value`: by value for plain ones, also inside of containers and settings, else by identity.

    What is in the `live` places of settings is not part of it. `depth` is how many containers `value` lies in.
    """
    return _TokenMaker(live).token(value, depth)


def callable_token(value: Any) -> Hashable:
    """A token that is equal for functions made by one line of code, methods of one object, and equal partials.

    What they hold besides, such as closure cells, is not part of it.
    """
    if isinstance(value, FunctionType):
        return value.__code__, token_of(value.__defaults__), token_of(value.__kwdefaults__)
    if isinstance(value, MethodType):
        return callable_token(value.__func__), identity_of(value.__self__)
    if isinstance(value, functools.partial):
        return callable_token(value.func), token_of(value.args), token_of(value.keywords)
    return identity_of(value)


class _TokenMaker:
    """Makes the token of one value; a container that is met again, perhaps in itself, is told by a number."""

    def __init__(self, live: Identities) -> None:
        self._live = live
        self._numbers: dict[int, int] = {}
        self._settings = MAX_OBJECTS  # those after as many others are known by identity

    def token(self, value: Any, depth: int) -> Hashable:
        kind = type(value)
        if kind is float or kind is complex:
            return kind, repr(value)  # 0.0 is not -0.0 here, and NaN is NaN
        if kind in PLAIN:
            return kind, value
        if isinstance(value, Enum):
            return kind, value.name
        if kind is slice:
            return kind, value.start, value.stop, value.step
        if isinstance(value, Tensor):
            return SameObject(value), form_of(value)
        if is_container(value) and depth < MAX_NESTED:
            return self._items(value, depth)
        if self._settings and is_settings(value):
            self._settings -= 1
            return identity_of(value), self._plain(vars(value))
        return identity_of(value)

    def _items(self, container: Any, depth: int) -> Hashable:
        if is_filled_in_place(container):
            if id(container) in self._numbers:
                return type(container), self._numbers[id(container)]
            self._numbers[id(container)] = len(self._numbers)
        items = container.items() if isinstance(container, dict) else container
        tokens = [self.token(item, depth + 1) for item in items]
        return type(container), frozenset(tokens) if isinstance(container, set | frozenset) else tuple(tokens)

    def _plain(self, held: dict[str, Any]) -> Hashable:
        """The plain attributes of settings."""
        names = (name for name, item in held.items() if type(item) in PLAIN and (id(held), name) not in self._live)
        return tuple((name, self.token(held[name], 0)) for name in names)


def identity_of(value: Any) -> Hashable:
    """A token that equals that of the same object only; of an equal value where there are no weak references to it."""
    try:
        return SameObject(value)
    except TypeError:
        pass
    try:
        hash(value)
    except TypeError:
        return type(value), id(value)
    return type(value), value


def is_settings(value: Any) -> bool:
    """Whether `value` is an object that only holds attributes, such as a dataclass of options."""
    return hasattr(value, "__dict__") and not callable(value) and not isinstance(value, ModuleType | Tensor | nn.Module)


def may_change(value: Any) -> bool:
    """Whether one and the same object may have another token later."""
    if type(value) in PLAIN:
        return False
    if isinstance(value, tuple | frozenset):
        return any(map(may_change, value))
    return is_container(value) or is_settings(value) or isinstance(value, Tensor)
