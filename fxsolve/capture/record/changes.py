"""What a recorded run left in places that outlive it, as stores that can be made again."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any

from torch import Tensor

from fxsolve.capture.plain import refuse_unusual
from fxsolve.capture.record.recorder import Recorder
from fxsolve.capture.state.aliasing import Handed, common_bases, find_sharing
from fxsolve.capture.state.counters import Counter, CountsError
from fxsolve.capture.state.externals import Moved, storage_of
from fxsolve.capture.state.places import (
    MACHINERY,
    MAX_NESTED,
    MISSING,
    PLAIN,
    Container,
    Contents,
    is_container,
    is_filled_in_place,
    items_of,
    paths_in,
    tensors_in,
)
from fxsolve.capture.state.routes import written_node
from fxsolve.capture.state.state import Slot, Snapshot
from fxsolve.capture.state.stores import Added, Constant, Filled, Held, Move, Read, Recipe, Store, Stored, Stores
from fxsolve.errors import SideEffectError
from fxsolve.torch_compat.dispatch import WithoutTorchFunction
from fxsolve.torch_compat.modules import BUFFERS, CHILDREN


@dataclass(frozen=True)
class Changes:
    """The stores of a run, the tensors that they need besides the returned ones, and what places held before.

    `candidates` are the tensors that were in rebound places, and where the next run finds its own.
    """

    stores: Stores
    stored: tuple[Tensor, ...]
    candidates: tuple[tuple[Read, Tensor], ...]
    before: Held


def find_changes(
    recorder: Recorder,
    snapshot: Snapshot,
    returned: tuple[Tensor, ...],
    live: tuple[tuple[Read, Tensor], ...],
    known: frozenset[tuple[int, str]],
    counted: Mapping[tuple[int, str], Counter],
) -> Changes:
    """What has to be stored after a run that returned these tensors; `live` and `known` are those of `Live`.

    `counted` are the numbers that were watched, and were added to or set.

    Raises:
        CountsError: numbers became other ones that were not watched.
        SideEffectError: a place holds something else now that cannot be made again.
    """
    changed = tuple(_changed(snapshot, counted))
    for slot in changed:
        _refuse_machinery(slot)
    if unseen := [slot.place for slot in changed if _counts(slot) and slot.place.identity not in counted]:
        raise CountsError(unseen)
    writer = _RecipeWriter(snapshot, returned, counted)
    writes = tuple(Store(slot.place, writer.write(slot)) for slot in changed)
    moved = recorder.externals.moved
    with WithoutTorchFunction():
        moves = tuple(
            Move(one.external.place, writer.number(_data_of(recorder, one)), one.memory.stride()) for one in moved
        )
    stored = frozenset(writer.stored)
    with WithoutTorchFunction():
        for number in stored:
            recorder.node_of(writer.tensors[number])
        bases = common_bases(writer.tensors, (one.tensor for one in recorder.externals.all()))
        tensors = (*writer.tensors, *(base for base in bases if recorder.find(base) is not None))
        written = frozenset(storage_of(one.external.tensor) for one in recorder.externals.written)
        nodes = [written_node(recorder.node_of(tensor)) for tensor in tensors]
        handed = Handed(tensors, nodes, stored, recorder.externals, written, bool(recorder.hooks))
        fresh, shared = find_sharing(handed)
    whole = {one.output for one in fresh}
    whole |= {one.output for one in shared if one.wants_grad or not one.route or tensors[one.output].grad_fn is None}
    _refuse_graphs(recorder, changed, tensors, whole)
    candidates = (*live, *_candidates(snapshot, changed, known))
    counters = tuple(one.place for one in counted.values())
    stores = Stores((), writes, moves, fresh, shared, len(tensors), counters)
    before = _before(snapshot, changed, tuple((one.external.tensor, one.memory) for one in moved))
    return Changes(stores, tensors[len(returned) :], candidates, before)


def _data_of(recorder: Recorder, moved: Moved) -> Tensor:
    """A second tensor on the memory that an external one has moved to."""
    data = moved.external.tensor.detach()
    recorder.bind(data, recorder.node_of(moved.external.tensor))
    return data


def _changed(snapshot: Snapshot, counted: Mapping[tuple[int, str], Counter]) -> Iterator[Slot]:
    """The slots to be set, also those that a run from other numbers would change."""
    # Each buffer is a place of its own.
    found = {slot.place.identity: slot for slot in snapshot.changed() if slot.place.key != BUFFERS}
    yield from found.values()
    yield from (slot for slot in snapshot.slots if slot.place.identity in counted and slot.place.identity not in found)


def _refuse_graphs(recorder: Recorder, changed: tuple[Slot, ...], tensors: tuple[Tensor, ...], whole: set[int]) -> None:
    """Raise SideEffectError if gradients would flow into what places hold through a view of another tensor.

    `whole` are the numbers of the `tensors` that are stored as they are.
    """
    known = {id(one.tensor) for one in recorder.externals.all()} | set(recorder.names)
    known |= {id(tensors[number]) for number in whole}
    for slot in changed:
        if any(tensor.requires_grad and id(tensor) not in known for tensor in tensors_in(slot.place.read())):
            raise SideEffectError(
                f"the program keeps a view at {slot.place.label} for its next call, with the graph that gradients flow "
                "through; detach it, or call the program under torch.no_grad()."
            )


def _refuse_machinery(slot: Slot) -> None:
    """Raise SideEffectError for a change of what a module is made of, or of a gradient."""
    place = slot.place
    is_of_module = isinstance(place.owner, dict) and place.key in MACHINERY and CHILDREN in place.owner
    if is_of_module or isinstance(place.owner, Tensor):
        raise _not_again(slot)


def _not_again(slot: Slot) -> SideEffectError:
    return SideEffectError(f"the program changes {slot.place.label}, which outlives the call; return it instead.")


class _RecipeWriter:
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
        if value is MISSING or isinstance(value, PLAIN):
            return Constant(value)
        if is_container(value):
            return self._filled(value, slot, depth)
        if id(value) in self._held:
            return Constant(value)  # its identity is part of the signature
        raise _not_again(slot)

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
                raise _not_again(slot)
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


def _counts(slot: Slot) -> bool:
    """Whether a number became another one: it will most likely do so at every call."""
    return all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (slot.held, slot.place.read()))


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


def _candidates(
    snapshot: Snapshot, changed: tuple[Slot, ...], known: frozenset[tuple[int, str]]
) -> Iterator[tuple[Read, Tensor]]:
    """The tensors that were in rebound places, and in no other ones."""
    contents = snapshot.contents()
    rebound = {slot.place.identity for slot in changed} | known
    others = (one for one in snapshot.slots if one.place.identity not in rebound and one.place.key != BUFFERS)
    fixed = {id(tensor) for slot in others for tensor in tensors_in(slot.held)}
    for slot in changed:
        for path, value in paths_in(slot.held, contents):
            if isinstance(value, Tensor) and id(value) not in fixed and slot.place.identity not in known:
                yield Read(slot.place, path), value


def _before(snapshot: Snapshot, changed: tuple[Slot, ...], memories: tuple[tuple[Tensor, Tensor], ...]) -> Held:
    contents = snapshot.contents()
    inside = {id(value): value for slot in changed for _, value in paths_in(slot.held, contents)}
    kept = tuple(Container(value, contents[number]) for number, value in inside.items() if number in contents)
    return Held(tuple((slot.place, slot.held) for slot in changed), kept, memories)
