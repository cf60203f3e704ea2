"""Which outputs of a recorded run that are stored in places share memory, and with what."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fxsolve.errors import SideEffectError
from fxsolve.tracer.externals import External, Externals, is_dense, is_within, storage_of
from fxsolve.tracer.stores import Fresh, Same, View


def find_sharing(
    outputs: tuple[Tensor, ...], stored: frozenset[int], externals: Externals, written: frozenset[int]
) -> tuple[tuple[Fresh, ...], tuple[Same, ...]]:
    """The outputs on the memory of those whose numbers are `stored`: with memory of their own, or of something else.

    `written` are the memories that the program writes into; `find_aliases` tells what shares those.

    Raises:
        SideEffectError: the memory is shared in a way that cannot be made again.
    """
    memories, moved = externals.memories(), {id(one.external.tensor): one.external for one in externals.moved}
    known = {storage_of(one.tensor): one for one in memories}
    groups: dict[int, list[int]] = defaultdict(list)
    first: dict[int, int] = {}
    for number, output in enumerate(outputs):
        if first.setdefault(id(output), number) == number and id(output) not in moved:
            groups[storage_of(output)].append(number)
    fresh: list[Fresh] = []
    shared: list[Same] = [_itself(number, moved[id(one)]) for number, one in enumerate(outputs) if id(one) in moved]
    for storage, group in groups.items():
        if storage in written or stored.isdisjoint(group):
            continue
        if storage in known:
            sharing = [one for one in memories if storage_of(one.tensor) == storage]
            shared += (_with_external(number, outputs[number], sharing) for number in group if number in stored)
            continue
        own, views = _with_outputs(group, stored, outputs)
        fresh += (_fresh(number, outputs[number]) for number in own)
        shared += views
    touched = stored | {one.output for one in (*fresh, *shared)}
    again = ((number, first[id(output)]) for number, output in enumerate(outputs))
    shared += (Same(number, "output", one, None) for number, one in again if number != one and one in touched)
    return tuple(fresh), tuple(shared)


def _with_external(number: int, output: Tensor, sharing: list[External]) -> Same:
    external = next((one for one in sharing if one.tensor is output), sharing[0])
    same = _itself(number, external)
    if external.tensor is output:
        return same
    if len(sharing) > 1:
        raise SideEffectError(f"the program keeps a view of {sharing[0].label} or {sharing[1].label}; keep a clone.")
    return replace(same, view=_view_of(output, external.tensor, external.label))


def _itself(number: int, external: External) -> Same:
    return Same(number, "input" if isinstance(external.place, int) else "attribute", external.place, None)


def _with_outputs(
    group: list[int], stored: frozenset[int], outputs: tuple[Tensor, ...]
) -> tuple[list[int], list[Same]]:
    """Of outputs on one memory those to be made apart, and those to be made views of the largest one."""
    base = max(group, key=lambda number: (outputs[number].numel(), outputs[number].requires_grad, number in stored))
    own, views = [], []
    for number in group:
        if number == base or (number not in stored and outputs[number].requires_grad):
            continue
        if is_dense(outputs[base]) and is_within(outputs[number], outputs[base]):
            view = _view_of(outputs[number], outputs[base], f"output {base}")
            views.append(Same(number, "output", base, view))
            continue
        others = [outputs[other] for other in group if other != number and (other in stored or number in stored)]
        if any(_overlap(outputs[number], other) for other in others):
            raise SideEffectError("the program keeps a tensor that shares some of its entries with another; clone it.")
        own.append(number)
    return [number for number in (base, *own) if number in stored or (number == base and views)], views


def _fresh(number: int, output: Tensor) -> Fresh:
    return Fresh(number, output.stride() if _is_spread(output) else None, output.requires_grad)


def _is_spread(tensor: Tensor) -> bool:
    """Whether entries share memory along whole dimensions only, as those of an expanded tensor do."""
    room = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride > 0:
            if stride < room:
                return False
            room = stride * size
    return True


def _view_of(output: Tensor, base: Tensor, label: str) -> View:
    if output.dtype != base.dtype or output.is_conj() != base.is_conj() or output.is_neg() != base.is_neg():
        raise SideEffectError(f"the program keeps {label}, read as another type; keep a clone of it.")
    return tuple(output.shape), output.stride(), int(output.storage_offset() - base.storage_offset())


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors on one memory have a byte in common."""
    marks = torch.zeros(one.untyped_storage().nbytes(), dtype=torch.int8)
    for tensor in (one, other):
        part = torch.zeros_like(marks)
        for offset in _first_bytes(tensor):
            part.as_strided(tensor.shape, [stride * tensor.itemsize for stride in tensor.stride()], offset).fill_(1)
        marks += part
    return bool((marks == 2).any())


def _first_bytes(tensor: Tensor) -> Iterator[int]:
    start = tensor.storage_offset() * tensor.itemsize
    return iter(range(start, start + tensor.itemsize))
