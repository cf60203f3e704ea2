"""Padding rules for calls that join tensors, or make one of a given size."""

from itertools import zip_longest

import torch
from torch import fx

from fxsolve.loops.padding.values import Dim, Dims, NoRuleError, PaddedValue, Padder, growing_factor, plain
from fxsolve.ops.call import Call

aten = torch.ops.aten


def pad_joined(p: Padder, call: Call) -> PaddedValue:
    """Behind the valid entries of the one piece that grows, the next piece overwrites entries that are not valid."""
    pieces = [p.value(piece) for piece in call["tensors"]]
    made = p.result_dims()
    dim = call["dim"] % len(made)
    if call.name == "stack":
        return _stacked(p, call, pieces, dim)
    pieces = [piece for piece in pieces if len(piece.dims) == len(made)]  # others are empty vectors
    growing = [k for k, piece in enumerate(pieces) if growing_factor(piece.dims[dim]) is not None]
    dims = (*pieces[0].dims[:dim], made[dim], *pieces[0].dims[dim + 1 :])
    for piece in pieces:
        _check_equal(dims, piece.dims, dim)
    if not growing:
        return PaddedValue(p.emit(aten.cat.default, [piece.node for piece in pieces], dim), dims)
    if len(growing) > 1:
        raise NoRuleError("joins two growing dimensions")
    return PaddedValue(_overwrite(p, pieces, growing[0], dim), dims)


def _stacked(p: Padder, call: Call, pieces: list[PaddedValue], dim: int) -> PaddedValue:
    """Pieces that grow alike, along a new dimension that does not."""
    dims = (*pieces[0].dims[:dim], plain(len(pieces)), *pieces[0].dims[dim:])
    if any(piece.dims != pieces[0].dims for piece in pieces):
        raise NoRuleError("joins tensors that grow differently")
    return PaddedValue(p.again(call, {}), dims)


def _check_equal(dims: Dims, other: Dims, besides: int) -> None:
    if len(dims) != len(other) or any(a != b for k, (a, b) in enumerate(zip(dims, other, strict=True)) if k != besides):
        raise NoRuleError("joins tensors that grow differently")


def _overwrite(p: Padder, pieces: list[PaddedValue], growing: int, dim: int) -> fx.Node:
    buffer = pieces[growing]
    start = sum(p.valid(piece.dims[dim]) for piece in pieces[:growing])
    made = buffer.node
    if growing:
        cut = p.emit(aten.slice.Tensor, made, dim, 0, p.width(buffer.dims[dim]) - start)
        made = p.emit(aten.cat.default, [*(piece.node for piece in pieces[:growing]), cut], dim)
    start += p.valid(buffer.dims[dim])
    for piece in pieces[growing + 1 :]:
        stop = start + p.valid(piece.dims[dim])
        made = _written(p, made, piece.node, dim, start, stop)
        start = stop
    return made


def _written(p: Padder, buffer: fx.Node, piece: fx.Node, dim: int, start: int, stop: int) -> fx.Node:
    """The buffer with a piece at start <= i < stop: all steps may write one entry at once, but no range."""
    if piece.meta["spec"].shape[dim] > 1:
        return p.emit(aten.slice_scatter.default, buffer, piece, dim, start, stop)
    return p.emit(aten.select_scatter.default, buffer, p.emit(aten.squeeze.dim, piece, dim), dim, start)


def pad_filled(p: Padder, call: Call) -> PaddedValue:
    """`zeros`, `full` and their like, of a growing size or of that of another value."""
    if call.name == "arange":
        return _arange(p, call)
    if "size" not in call.arguments:
        return PaddedValue(p.again(call, {}), p.value(call.first).dims)
    dims = p.result_dims()
    return PaddedValue(p.again(call, {"size": p.widths(dims)}), dims)


def _arange(p: Padder, call: Call) -> PaddedValue:
    """It goes on behind the valid entries."""
    (dims,), start = p.result_dims(), call["start"] or 0
    if not all(isinstance(number, int) for number in p.call.args) or call["step"] not in (None, 1):
        raise NoRuleError("counts in fractions")
    return PaddedValue(p.emit(aten.arange.start, start, start + p.width(dims), **p.call.kwargs), (dims,))


def broadcast(all_dims: list[Dims]) -> Dims:
    """The dimensions of a pointwise result. NoRuleError where the factors of two arguments differ."""
    dims: list[Dim] = []
    for aligned in zip_longest(*(reversed(dims) for dims in all_dims), fillvalue=()):
        different = {dim for dim in aligned if dim != ()}
        if len(different) > 1:
            raise NoRuleError("broadcasts dimensions that grow differently")
        dims.append(different.pop() if different else ())
    return tuple(reversed(dims))
