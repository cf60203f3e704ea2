"""What strides read from or write into a contiguous tensor, said by slices of its dimensions, which can be batched."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments

aten = torch.ops.aten


@dataclass(frozen=True)
class SliceChain:
    """Entries of a contiguous tensor: of each of its dimensions one, or those that a dimension of the result takes."""

    takes: tuple[tuple[Any, tuple[int, ...]], ...]  # one after another: `select` or `slice`, and its arguments
    order: tuple[int, ...]  # of the dimensions that are left, in the result
    ones: tuple[int, ...]  # dimensions of the result that hold one entry

    def backwards(self) -> tuple[int, ...]:
        """The order that undoes `order`."""
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))


def index_strided(graph: fx.Graph, node: fx.Node) -> None:
    """Replace `as_strided` or `as_strided_scatter` of a contiguous tensor where slices say the same."""
    base, *source = node.all_input_nodes
    size, stride, offset = arguments(node, *(None,) * (4 + len(source)))[-3:]
    slices = find_slices(base.meta["spec"].shape, size, stride, offset or 0)
    if slices is None:
        return
    with graph.inserting_before(node):
        made = _write(graph, node, slices) if source else _read(graph, node, slices)
    node.replace_all_uses_with(made)
    graph.erase_node(node)


def find_slices(shape: Sequence[int], size: Sequence[int], stride: Sequence[int], offset: int) -> SliceChain | None:
    """The slices of a contiguous tensor of such a shape that hold what `as_strided(size, stride, offset)` reads.

    None where there are no such slices: of diagonals, and of windows that overlap.
    """
    steps = [torch.Size(shape[dim + 1 :]).numel() for dim in range(len(shape))]
    if not all(shape) or not all(size) or offset >= torch.Size(shape).numel():
        return None
    starts = [offset // step % length for step, length in zip(steps, shape, strict=True)]
    taken: dict[int, tuple[int, ...]] = {}
    for length, each in zip(size, stride, strict=True):
        if length == 1:
            continue
        fits = (k for k, step in enumerate(steps) if k not in taken and shape[k] > 1 and each and each % step == 0)
        dim = next(fits, None)
        if dim is None or (last := starts[dim] + (length - 1) * (each // steps[dim])) >= shape[dim]:
            return None
        taken[dim] = (starts[dim], last + 1, each // steps[dim])
    takes = [
        (aten.slice.Tensor, (dim, *taken[dim])) if dim in taken else (aten.select.int, (dim, starts[dim]))
        for dim in reversed(range(len(shape)))
        if taken.get(dim) != (0, shape[dim], 1)
    ]
    left = sorted(taken)
    return SliceChain(tuple(takes), tuple(map(left.index, taken)), tuple(k for k, length in enumerate(size) if length == 1))


def _read(graph: fx.Graph, node: fx.Node, slices: SliceChain) -> fx.Node:
    value = _parts(graph, node, slices)[-1]
    if slices.order != tuple(sorted(slices.order)):
        value = add_call(graph, aten.permute.default, (value, list(slices.order)), like=node)
    for dim in slices.ones:
        value = add_call(graph, aten.unsqueeze.default, (value, dim), like=node)
    return value


def _write(graph: fx.Graph, node: fx.Node, slices: SliceChain) -> fx.Node:
    value = node.all_input_nodes[1]
    for dim in reversed(slices.ones):
        value = add_call(graph, aten.select.int, (value, dim, 0), like=node)
    if slices.order != tuple(sorted(slices.order)):
        value = add_call(graph, aten.permute.default, (value, list(slices.backwards())), like=node)
    parts = _parts(graph, node, slices)
    for (target, args), part in zip(reversed(slices.takes), reversed(parts[:-1]), strict=True):
        scatter = aten.select_scatter if target is aten.select.int else aten.slice_scatter
        value = add_call(graph, scatter.default, (part, value, *args), like=node)
    if slices.takes:
        return value
    # All of it is written: the result has memory of its own, laid out like that of the tensor.
    return add_call(graph, aten.clone.default, (value,), {"memory_format": torch.contiguous_format}, node)


def _parts(graph: fx.Graph, node: fx.Node, slices: SliceChain) -> list[fx.Node]:
    """The tensor, and what is left of it after each of the slices."""
    first = node.all_input_nodes[0]
    return list(
        itertools.accumulate(
            slices.takes, lambda part, take: add_call(graph, take[0], (part, *take[1]), like=node), initial=first
        )
    )
