"""Join the steps of loops: `stack` and `cat` of per-step values become views of the stacked steps."""

import torch
from torch import fx

from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.calls import is_join, join_dim
from fxsolve.ir.steps import slice_steps
from fxsolve.ir.strides import is_contiguous, span
from fxsolve.loops.rolling.live_out import LiveOut, LoopPlace
from fxsolve.structure.slots import Value

aten = torch.ops.aten

_ALIGNED = 16  # entries: a row begins where a tensor of its own would
Piece = tuple[LoopPlace, list[int]] | Value


def join_steps(wanted: LiveOut, builder: BlockBuilder, call: int) -> fx.Node | None:
    """The node for a `stack` or `cat` that reads steps of loops, or None if call number `call` is no such join.

    A run of steps t, t+d, t+2d, ... of one loop is one slice of its stack; the pieces are joined along `dim` and laid
    out as the original was (contiguous).
    """
    node = wanted.calls.nodes[call]
    if not is_join(node):
        return None
    pieces = _pieces(wanted, wanted.calls.arguments(call))
    if all(isinstance(piece, Value) for piece in pieces):
        return None
    stacking = node.target is aten.stack.default
    dim = join_dim(node)
    parts = [_part(wanted, builder, piece, dim, stacking) for piece in pieces]
    joined = parts[0] if len(parts) == 1 else builder.call(aten.cat.default, parts, dim)
    return builder.stand_in(node, aten.contiguous.default, joined)


def stack_values(wanted: LiveOut, builder: BlockBuilder, values: list[Value]) -> fx.Node:
    """The values stacked along a new first dimension, each laid out in memory as it was: kernels round by that."""
    parts = [_part(wanted, builder, piece, 0, True) for piece in _pieces(wanted, values)]
    joined, row = builder.call(aten.cat.default, parts, 0), wanted.calls.node_of(values[0]).meta["spec"]
    if is_contiguous(row):
        return joined
    strides = (-(-span(row) // _ALIGNED) * _ALIGNED, *row.stride)
    empty = builder.call(aten.new_empty_strided.default, joined, (len(values), *row.shape), strides)
    return builder.call(aten.copy.default, empty, joined)


def _pieces(wanted: LiveOut, values: list[Value]) -> list[Piece]:
    pieces: list[Piece] = []
    for value in values:
        located = wanted.locate(value)
        if located is None or not wanted.is_stacked(located[0]):
            pieces.append(value)
            continue
        place, step = located
        last = pieces[-1] if pieces else None
        if isinstance(last, tuple) and not isinstance(last, Value) and last[0] == place and _continues(last[1], step):
            last[1].append(step)
        else:
            pieces.append((place, [step]))
    return pieces


def _continues(steps: list[int], step: int) -> bool:
    return len(steps) == 1 or step - steps[-1] == steps[1] - steps[0]


def _part(wanted: LiveOut, builder: BlockBuilder, piece: Piece, dim: int, stacking: bool) -> fx.Node:
    if isinstance(piece, Value):
        node = builder.read(wanted.name(piece), wanted.calls.node_of(piece).meta.get("spec"))
        return builder.call(aten.unsqueeze.default, node, dim) if stacking else node
    place, steps = piece
    stack = slice_steps(builder, wanted.read_stack(builder, place), steps)
    moved = builder.call(torch.movedim, stack, 0, dim)
    if stacking:
        return moved
    return builder.call(torch.flatten, moved, dim, dim + 1)
