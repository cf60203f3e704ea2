"""Sums over steps of tensors that are zero but for a few entries: every step's entries are written once.

    sum_t select_backward(g_t, sizes, dim, i_t)  =  zeros(sizes) with g_t at entry i_t of `dim`

What autograd adds up for a tensor that a loop reads entry by entry: T tensors of T entries each.
"""

from typing import Any

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import BlockBuilder, add_call
from fxsolve.ir.spec import Invariant, Table
from fxsolve.ir.tables import as_range

aten = torch.ops.aten

_ENTRIES = (aten.select_backward.default, aten.slice_backward.default)
_ZEROS = (aten.new_zeros.default, aten.zeros.default, aten.zeros_like.default)


def placed_factors(opened: OpenRepeat, value: fx.Node) -> list[fx.Node] | None:
    """The values of which `place` needs all steps, stacked; None if `value` is no such tensor."""
    args: Any = value.args
    found: list[Any] = []
    if value.target in _ENTRIES and isinstance(args[2], int):  # another dimension at every step is no place
        found = [args[0]]
    elif value.target is aten.embedding_dense_backward.default and not args[4]:
        found = [args[0], args[1]]
    elif value.target is aten.index_put.default and args[3:] == (True,) and args[0].target in _ZEROS:
        found = [args[2], *args[1]]
        if any(x is None or x.meta["spec"].shape != args[1][0].meta["spec"].shape for x in args[1]):
            return None
    invariant = any(isinstance(opened.reads.get(node), Invariant) for node in found)
    return None if invariant or not found else found


def place(builder: BlockBuilder, opened: OpenRepeat, value: fx.Node, stacks: list[fx.Node]) -> fx.Node:
    """The sum of `value` over all steps."""
    first, *others = stacks
    if value.target is aten.embedding_dense_backward.default:
        return builder.call(value.target, first, *others, *value.args[2:])
    if value.target is aten.index_put.default:
        return builder.call(value.target, _zeros(builder, first, value), others, first, True)
    if not any(isinstance(argument, fx.Node) for argument in value.args[1:]):
        return builder.call(value.target, builder.call(aten.sum.dim_IntList, first, [0]), *value.args[1:])
    dim, entries = _entries(opened, value)
    moved = builder.call(torch.movedim, first, 0, dim)
    if value.target is aten.slice_backward.default:
        moved = builder.call(torch.flatten, moved, dim, dim + 1)
    write = aten.index_copy.default if len(set(entries)) == len(entries) else aten.index_add.default
    return builder.call(write, _zeros(builder, first, value), dim, _index(builder, entries, value), moved)


def _entries(opened: OpenRepeat, value: fx.Node) -> tuple[int, list[int]]:
    """The dimension, and the entries along it that the steps write, step after step."""
    cotangent, _, dim, start, *rest = value.args
    assert isinstance(cotangent, fx.Node) and isinstance(dim, int)
    dim %= len(value.meta["spec"].shape)
    size = value.meta["spec"].shape[dim]
    read = opened.reads.get(start) if isinstance(start, fx.Node) else None
    starts = read.values if isinstance(read, Table) else (start,) * opened.length
    if value.target is aten.select_backward.default:
        return dim, [int(k) % size for k in starts]  # pyright: ignore[reportArgumentType]
    width, step = cotangent.meta["spec"].shape[dim], int(rest[1]) if len(rest) > 1 else 1  # pyright: ignore
    firsts = [max(int(k) + size, 0) if int(k) < 0 else int(k) for k in starts]  # pyright: ignore[reportArgumentType]
    return dim, [first + step * k for first in firsts for k in range(width)]


def _zeros(builder: BlockBuilder, like: fx.Node, value: fx.Node) -> fx.Node:
    return builder.call(aten.new_zeros.default, like, list(value.meta["spec"].shape))


def _index(builder: BlockBuilder, entries: list[int], value: fx.Node) -> fx.Node:
    device = {"device": value.meta["spec"].device}
    if counted := as_range(entries):
        return add_call(builder.graph, torch.arange, (counted.start, counted.stop, counted.step), device)
    return add_call(builder.graph, torch.tensor, (entries,), device)
