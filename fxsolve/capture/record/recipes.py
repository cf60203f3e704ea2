"""Recipes of what a run left in its places: tensors by number, and everything else as it is."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import is_
from typing import Any

from torch import Tensor

from fxsolve.capture.effects.counters import Counter
from fxsolve.capture.plain import refuse_unusual
from fxsolve.errors import SideEffectError
from fxsolve.state.held import Slot
from fxsolve.state.places import (
    MAX_NESTED,
    MISSING,
    Contents,
    is_container,
    is_filled_in_place,
    is_plain,
    items_of,
    paths_in,
    tensors_in,
)
from fxsolve.state.snapshot import Snapshot
from fxsolve.state.stores import Added, Constant, Filled, Read, Recipe, Stored


def not_again(slot: Slot) -> SideEffectError:
    """The error for a change that cannot be made again."""
    return SideEffectError(f"the program changes {slot.place.label}, which outlives the call; return it instead.")


class RecipeWriter:
    """Turns what places hold into recipes; `tensors` are the returned ones, and those that are stored besides."""

    def __init__(
        self, snapshot: Snapshot, returned: tuple[Tensor, ...], counted: Mapping[tuple[int, str], Counter]
    ) -> None:
        self.tensors = list(returned)
        self.stored: set[int] = set()
        self._numbers = {id(tensor): number for number, tensor in reversed(list(enumerate(returned)))}
        self._held = {id(slot.held) for slot in snapshot.slots}
        self._contents = snapshot.contents()
        self._reads = dict(_containers(snapshot, self._contents))
        self._made: dict[int, Filled] = {}
        self._kept: list[Any] = []  # so that no id is used twice
        self._counted = counted

    def write(self, slot: Slot) -> Recipe | Added:
        """How to make what is in the slot now."""
        counter = self._counted.get(slot.place.identity)
        if counter is not None and counter.added is not None:
            return counter.recipe()
        return self.recipe(slot.place.read(), slot)

    def recipe(self, value: Any, slot: Slot, depth: int = 0) -> Recipe:
        """How to make `value`, which is in the slot now, or in a container there."""
        if isinstance(value, Tensor):
            refuse_unusual(value, slot.place.label)
            return Stored(self.number(value))
        if value is MISSING or is_plain(value):
            return Constant(value)
        if is_container(value):
            return self._filled(value, slot, depth)
        if id(value) in self._held:
            return Constant(value)  # its identity is part of the signature
        raise not_again(slot)

    def number(self, tensor: Tensor) -> int:
        """The number of the output that hands on this tensor."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        number = self._numbers[id(tensor)]
        self.stored.add(number)
        return number

    def _filled(self, value: Any, slot: Slot, depth: int) -> Filled:
        if id(value) not in self._made:
            if depth >= MAX_NESTED:
                raise SideEffectError(
                    f"the program changes {slot.place.label}, which outlives the call and holds containers in one "
                    f"another more than {MAX_NESTED} deep; return it instead."
                )
            if self._grows(value):
                raise SideEffectError(
                    f"the program changes {slot.place.label}, which outlives the call and gets longer or shorter each "
                    "time; clear it first, or return what is new instead."
                )
            make = _maker(value)
            if make is None or (isinstance(value, set) and any(True for _ in tensors_in(value))):
                raise not_again(slot)
            recipes = tuple(self.recipe(item, slot, depth + 1) for item in items_of(value))
            self._kept.append(value)
            self._made[id(value)] = Filled(recipes, make, self._reads.get(id(value)))
        return self._made[id(value)]

    def _grows(self, container: Any) -> bool:
        """Whether a container holds what it held and more, or less: it will most likely do so at every call."""
        before = self._contents.get(id(container))
        if not before or len(before) == len(container):
            return False
        held = [pair[1] for pair in before] if isinstance(container, dict) else [*before]
        fewer, more = sorted((held, [*items_of(container)]), key=len)
        return bool(fewer) and (_are_same(fewer, more) or _are_same(fewer[::-1], more[::-1]))


def _are_same(items: list[Any], others: list[Any]) -> bool:
    """Whether the first of the others are the very items."""
    return all(map(is_, items, others))


def _maker(value: Any) -> Callable[[list[Any]], Any] | None:
    """What makes a container like `value` out of the items, of a dict the values."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return kind
    if kind is deque:
        return partial(deque, maxlen=value.maxlen)
    if kind in (dict, OrderedDict):
        return partial(_make_dict, kind, tuple(value))
    return getattr(value, "_make", None)  # of a named tuple


def _make_dict(kind: type, keys: tuple[Any, ...], values: list[Any]) -> Any:
    return kind(zip(keys, values, strict=True))


def _containers(snapshot: Snapshot, contents: Contents) -> Iterator[tuple[int, Read]]:
    """Where the containers are that could be changed in place: id -> read."""
    for slot in snapshot.slots:
        for path, value in paths_in(slot.held, contents):
            if is_filled_in_place(value):
                yield id(value), Read(slot.place, path)
