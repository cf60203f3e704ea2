"""Which outputs of a recorded run are other tensors, or views of them, and which have memory of their own."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from fxsolve.capture.effects.externals import External, Externals
from fxsolve.capture.effects.routes import is_plain, route_of
from fxsolve.errors import SideEffectError
from fxsolve.solvers.memory import span_of
from fxsolve.state.memory import is_dense, is_within, storage_of
from fxsolve.state.stores import DETACH, Fresh, Route, Same, Step
from fxsolve.torch_compat.tensors import base_of

_AS_STRIDED = torch.ops.aten.as_strided.default


@dataclass(frozen=True)
class Handed:
    """The outputs of a run with their nodes; `stored` are the numbers of those that are stored in places.

    `written` are the memories that the program writes into; `find_aliases` tells what shares those. Where the program
    `has_hooks`, gradients are not known to flow along a view as they are.
    """

    outputs: Sequence[Tensor]
    nodes: Sequence[fx.Node]
    stored: frozenset[int]
    externals: Externals
    written: frozenset[int]
    has_hooks: bool


def find_sharing(handed: Handed) -> tuple[tuple[Fresh, ...], tuple[Same, ...]]:
    """The outputs that are stored, or that others are views of, and those that are other tensors or views of them.

    Raises:
        SideEffectError: memory of what is stored is shared in a way that cannot be made again.
    """
    outputs, stored = handed.outputs, handed.stored
    first = {id(output): number for number, output in reversed(list(enumerate(outputs)))}
    again = [number for number, output in enumerate(outputs) if first[id(output)] != number]
    shared = {number: Same(number, "output", first[id(outputs[number])], (), False) for number in again}
    moved = {id(one.external.tensor): one.external for one in handed.externals.moved}
    linked = {number: _itself(number, moved[one]) for one, number in first.items() if one in moved}
    linked |= {one.output: one for one in _links(handed, frozenset(first.values()) - linked.keys())}
    groups: dict[int, list[int]] = defaultdict(list)
    for number in first.values():
        if number not in linked and storage_of(outputs[number]) not in handed.written:
            groups[storage_of(outputs[number])].append(number)
    bases = {one.base: one.output in stored for one in linked.values() if one.kind == "output"}
    bases |= {one.base: True for one in linked.values() if one.kind == "output" and one.output in stored}
    known = {storage_of(one.tensor): one for one in handed.externals.memories()}
    own: set[int] = set()
    for storage, group in groups.items():
        # Where nothing is stored, outputs share the memory of a tensor that is not returned as what is emitted has it.
        own |= {number for number in group if bases.get(number, False) or (number in bases and len(group) == 1)}
        if stored.isdisjoint(group):
            continue
        if storage in known:
            raise SideEffectError(f"the program keeps memory of {known[storage].label}; keep a clone of it.")
        apart, views = _with_outputs(group, stored, outputs)
        own |= {*apart}
        linked |= {one.output: one for one in views}
    fresh = tuple(fresh_of(number, outputs[number]) for number in sorted(own))
    return fresh, (*linked.values(), *shared.values())


def common_bases(outputs: Sequence[Tensor], given: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The tensors that several outputs are views of, and that are no outputs, nor on memory that was given."""
    known = {storage_of(tensor) for tensor in given}
    distinct = {id(output): output for output in outputs}
    views: dict[int, list[Tensor]] = defaultdict(list)
    for output in distinct.values():
        base = base_of(output)
        if base is not None and id(base) not in distinct and storage_of(base) not in known:
            views[id(base)].append(output)
    return tuple(base_of(ones[0]) for ones in views.values() if len(ones) > 1)  # pyright: ignore[reportReturnType]


def _links(handed: Handed, distinct: frozenset[int]) -> Iterator[Same]:
    """The outputs that calls of the program make of external tensors, or of other outputs, as views."""
    outputs = handed.outputs
    places = {one.node: one for one in handed.externals.all()}
    numbers = {handed.nodes[number]: number for number in sorted(distinct, reverse=True)}
    for number in sorted(distinct):
        if storage_of(outputs[number]) in handed.written:
            continue
        found = route_of(handed.nodes[number], places, numbers)
        if found is None:
            continue
        node, route = found
        external = places.get(node)
        base = outputs[numbers[node]] if external is None else external.tensor
        if not route and outputs[number] is not base:
            continue
        wants_grad = outputs[number].grad_fn is not None
        if route and wants_grad and (handed.has_hooks or not is_plain(outputs[number], base)):
            continue
        if external is None:
            yield Same(number, "output", numbers[node], route, wants_grad)
        else:
            yield replace(_itself(number, external), route=route, wants_grad=wants_grad)


def _itself(number: int, external: External) -> Same:
    return Same(number, "input" if isinstance(external.place, int) else "attribute", external.place, (), False)


def _with_outputs(group: list[int], stored: frozenset[int], outputs: Sequence[Tensor]) -> tuple[list[int], list[Same]]:
    """Of outputs on one memory those to be made apart, and those to be made views of the largest one."""
    base = max(group, key=lambda number: (outputs[number].numel(), outputs[number].requires_grad, number in stored))
    own, views = [], []
    overlaps = _Overlaps(group, stored, outputs)
    for number in group:
        if number == base or (number not in stored and outputs[number].requires_grad):
            continue
        if is_dense(outputs[base]) and is_within(outputs[number], outputs[base]):
            views.append(Same(number, "output", base, _route_to(outputs[number], outputs[base], base), False))
            continue
        if overlaps.with_others(number):
            raise SideEffectError("the program keeps a tensor that shares some of its entries with another; clone it.")
        own.append(number)
    return [number for number in (base, *own) if number in stored or (number == base and views)], views


def fresh_of(number: int, output: Tensor) -> Fresh:
    """How an output with memory of its own lies in it."""
    strides = output.stride() if _is_spread(output) else None
    size = span_of(output) * output.itemsize if output.numel() else 0
    return Fresh(number, strides, output.requires_grad, size)


def _is_spread(tensor: Tensor) -> bool:
    """Whether entries share memory along whole dimensions only, as those of an expanded tensor do."""
    room = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride > 0:
            if stride < room:
                return False
            room = stride * size
    return True


def _route_to(output: Tensor, base: Tensor, number: int) -> Route:
    """From an output with memory of its own to one that lies in it, without gradients."""
    if output.dtype != base.dtype or output.is_conj() != base.is_conj() or output.is_neg() != base.is_neg():
        raise SideEffectError(f"the program keeps output {number}, read as another type; keep a clone of it.")
    offset = int(output.storage_offset() - base.storage_offset())
    lying = Step(_AS_STRIDED, (tuple(output.shape), output.stride(), offset), {}, None)
    return Step(DETACH, (), {}, None), lying


class _Overlaps:
    """How many of the tensors on one memory, and how many of those that are stored, lie on each of its bytes."""

    def __init__(self, group: list[int], stored: frozenset[int], outputs: Sequence[Tensor]) -> None:
        self._outputs, self._stored = outputs, stored
        nothing = torch.zeros(outputs[group[0]].untyped_storage().nbytes(), dtype=torch.int32)
        self._all = _marks(nothing, [outputs[number] for number in group])
        self._kept = _marks(nothing, [outputs[number] for number in group if number in stored])

    def with_others(self, number: int) -> bool:
        """Whether one of two tensors that have a byte in common, this one and another, is stored."""
        marks, own = (self._all, 1) if number in self._stored else (self._kept, 0)
        return any(bool((part > own).any()) for part in _parts(marks, self._outputs[number]))


def _marks(nothing: Tensor, tensors: list[Tensor]) -> Tensor:
    """For each byte of the memory that the tensors share, how many of them lie on it."""
    marks = nothing.clone()
    for tensor in tensors:
        if _is_spread(tensor):
            for part in _parts(marks, tensor):
                part += 1
            continue
        own = nothing.clone()
        for part in _parts(own, tensor):
            part.fill_(1)
        marks += own
    return marks


def _parts(marks: Tensor, tensor: Tensor) -> Iterator[Tensor]:
    """The marks of the first byte of each entry, those of the second, and so on; of entries on one place, of one."""
    start = tensor.storage_offset() * tensor.itemsize
    strides = [stride * tensor.itemsize for stride in tensor.stride()]
    shape = [size if stride else min(size, 1) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return (marks.as_strided(shape, strides, offset) for offset in range(start, start + tensor.itemsize))
