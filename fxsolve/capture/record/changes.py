"""What a recorded run left in places that outlive it, as stores that can be made again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from fxsolve.capture.effects.aliasing import Handed, common_bases, find_sharing
from fxsolve.capture.effects.counters import Counter, CountsError
from fxsolve.capture.effects.externals import Moved
from fxsolve.capture.effects.routes import written_node
from fxsolve.capture.record.recipes import RecipeWriter, not_again
from fxsolve.capture.record.recorder import Recorder
from fxsolve.errors import SideEffectError
from fxsolve.state.held import Held, Slot
from fxsolve.state.memory import storage_of
from fxsolve.state.places import (
    MACHINERY,
    Container,
    paths_in,
    tensors_in,
)
from fxsolve.state.snapshot import Snapshot
from fxsolve.state.stores import Move, Read, Store, Stores
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
    writer = RecipeWriter(snapshot, returned, counted)
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
        raise not_again(slot)


def _counts(slot: Slot) -> bool:
    """Whether a number became another one: it will most likely do so at every call."""
    return all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (slot.held, slot.place.read()))


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
    return Held(changed, kept, memories)
