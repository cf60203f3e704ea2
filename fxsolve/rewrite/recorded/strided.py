"""What strides read from or write into a tensor without gaps, said by slices, which can be batched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments
from fxsolve.ir.strides import is_contiguous
from fxsolve.ir.tensor_spec import TensorSpec

aten = torch.ops.aten


@dataclass(frozen=True)
class SliceChain:
    """Entries of a tensor without gaps: one of each of its dimensions, or those that the result has along it."""

    takes: tuple[tuple[Any, tuple[int, ...]], ...]  # one after another: `select` or `slice`, and its arguments
    order: tuple[int, ...]  # of the dimensions that are left, in the result
    ones: tuple[int, ...]  # dimensions of the result that hold one entry

    @property
    def takes_several(self) -> bool:
        """Whether it takes some of the entries along a dimension, more than one."""
        return any(target is aten.slice.Tensor for target, _ in self.takes)

    def backwards(self) -> tuple[int, ...]:
        """The order that undoes `order`."""
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))


def index_strided(graph: fx.Graph, node: fx.Node) -> bool:
    """Replace `as_strided` or `as_strided_scatter` of a tensor without gaps where slices say the same."""
    base, *source = node.all_input_nodes
    form = arguments(node, *(None,) * (4 + len(source)))[-3:]
    slices, shape = find_slices(base.meta["spec"], *form), _rows_of(base.meta["spec"], *form)
    if slices is not None and (shape is None or not slices.takes_several):
        shape = None  # no other form of the tensor is needed
    elif shape is None:
        return False
    with graph.inserting_before(node):
        if shape is not None:
            base = add_call(graph, aten.view.default, (base, list(shape)), like=node)
            slices = find_slices(base.meta["spec"], *form)
        assert slices is not None
        made = _write(graph, node, base, slices) if source else _read(graph, node, base, slices)
        if source and shape is not None:
            made = add_call(
                graph, aten.view.default, (made, list(node.all_input_nodes[0].meta["spec"].shape)), like=node
            )
    node.replace_all_uses_with(made)
    graph.erase_node(node)
    return True


def _rows_of(
    spec: TensorSpec, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> tuple[int, ...] | None:
    """The shape in which a tensor without gaps is made of rows, one of which is read: of `size`, without gaps too."""
    count, whole = torch.Size(size).numel(), torch.Size(spec.shape).numel()
    is_row = count and whole % count == 0 and (offset or 0) % count == 0 and (offset or 0) < whole
    is_dense = is_contiguous(spec) and is_contiguous(spec._replace(shape=tuple(size), stride=tuple(stride)))
    if not is_row or not is_dense:
        return None
    return tuple(size) if count == whole else (whole // count, *size)


def find_slices(
    spec: TensorSpec, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> SliceChain | None:
    """The slices of a tensor without gaps that hold what `as_strided(size, stride, offset)` reads of its memory.

    None where there are no such slices: of diagonals, and of windows that overlap.
    """
    shape, steps, begin = spec.shape, spec.stride, offset or 0
    if not all(shape) or not all(size) or begin >= torch.Size(shape).numel():
        return None
    starts = [begin // step % length if length > 1 else 0 for step, length in zip(steps, shape, strict=True)]
    coarsest_first = sorted((dim for dim, length in enumerate(shape) if length > 1), key=lambda dim: -steps[dim])
    taken: dict[int, tuple[int, ...]] = {}
    for length, each in zip(size, stride, strict=True):
        if length == 1:
            continue
        dim = next((dim for dim in coarsest_first if dim not in taken and each and each % steps[dim] == 0), None)
        if dim is None or (last := starts[dim] + (length - 1) * (each // steps[dim])) >= shape[dim]:
            return None
        taken[dim] = (starts[dim], last + 1, each // steps[dim])
    # Entries first, so that what is left of a row is a part of that row.
    entries = [(aten.select.int, (dim, starts[dim])) for dim in reversed(range(len(shape))) if dim not in taken]
    parts = [
        (aten.slice.Tensor, (place, *taken[dim]))
        for place, dim in enumerate(sorted(taken))
        if taken[dim] != (0, shape[dim], 1)
    ]
    order = tuple(map(sorted(taken).index, taken))
    return SliceChain((*entries, *parts), order, tuple(dim for dim, length in enumerate(size) if length == 1))


def _read(graph: fx.Graph, node: fx.Node, base: fx.Node, slices: SliceChain) -> fx.Node:
    *_, last = _parts(graph, node, base, slices)
    # A view of its own, also of the whole: results that are two tensors stay two.
    is_own = slices.takes or base is not node.args[0]
    whole = last if is_own else add_call(graph, aten.alias.default, (last,), like=node)
    value = _permuted(graph, node, whole, slices.order)
    for dim in slices.ones:
        value = add_call(graph, aten.unsqueeze.default, (value, dim), like=node)
    return value


def _write(graph: fx.Graph, node: fx.Node, base: fx.Node, slices: SliceChain) -> fx.Node:
    value = node.all_input_nodes[1]
    for dim in reversed(slices.ones):
        value = add_call(graph, aten.select.int, (value, dim, 0), like=node)
    value = _permuted(graph, node, value, slices.backwards())
    parts = _parts(graph, node, base, slices)
    for (target, args), part in zip(reversed(slices.takes), reversed(parts[:-1]), strict=True):
        scatter = aten.select_scatter if target is aten.select.int else aten.slice_scatter
        value = add_call(graph, scatter.default, (part, value, *args), like=node)
    if slices.takes or value.target is aten.select_backward.default:
        return value  # the latter always lies there without gaps
    # All of it is written: the result has memory of its own, laid out like that of the tensor.
    return add_call(graph, aten.clone.default, (value,), {"memory_format": torch.contiguous_format}, node)


def _permuted(graph: fx.Graph, node: fx.Node, value: fx.Node, order: Sequence[int]) -> fx.Node:
    is_turned = list(order) != sorted(order)
    return add_call(graph, aten.permute.default, (value, list(order)), like=node) if is_turned else value


def _parts(graph: fx.Graph, node: fx.Node, base: fx.Node, slices: SliceChain) -> list[fx.Node]:
    """The tensor, and what is left of it after each of the slices."""
    parts = [base]
    for target, args in slices.takes:
        parts.append(add_call(graph, target, (parts[-1], *args), like=node))
    return parts
