"""Loops in a step that read the entries of one tensor one by one: they read its slices."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Read, Slices, Stacked
from fxsolve.ir.strides import is_contiguous

aten = torch.ops.aten

_MOST_PIECES = 3

Piece = fx.Node | tuple[fx.Node, int, int]  # one value, or entries low <= k < high of a tensor


def read_slices(graph: fx.Graph) -> None:
    """Rewrite the loops that a graph calls so that entries of a tensor which follow one another are read as slices."""
    for node in list(graph.nodes):
        if isinstance(node.target, Nested):
            _read_slices(graph, node)


def _read_slices(graph: fx.Graph, call: fx.Node) -> None:
    nested = call.target
    assert isinstance(nested, Nested)
    given: dict[str, Any] = dict(zip(nested.inputs, call.args, strict=True))
    reads: list[Read] = []
    for read in nested.repeat.reads:
        whole = _whole(graph, call, read, given)
        if whole is not None and given.setdefault(whole.name, whole) is whole:
            read = Slices(whole.name, 0, tuple(range(nested.repeat.length)))
        reads.append(read)
    made = Nested(replace(nested.repeat, reads=tuple(reads)), nested.solve)
    call.target, call.args = made, tuple(given[name] for name in made.inputs)


def _whole(graph: fx.Graph, call: fx.Node, read: Read, given: Mapping[str, Any]) -> fx.Node | None:
    return _joined(graph, call, [given[source] for source in read.sources]) if isinstance(read, Stacked) else None


def _joined(graph: fx.Graph, call: fx.Node, values: list[fx.Node]) -> fx.Node | None:
    """A tensor whose entries the values are, made in front of `call`; None if they come from too many."""
    pieces = _pieces(values)
    sources = [piece if isinstance(piece, fx.Node) else piece[0] for piece in pieces]
    alone = all(isinstance(piece, fx.Node) for piece in pieces)
    # A copy of entries that lie apart would lie in another way, and products of it might round differently.
    if alone or len(pieces) > _MOST_PIECES or not all(is_contiguous(source.meta["spec"]) for source in sources):
        return None
    with graph.inserting_before(call):
        parts = [_part(graph, piece) for piece in pieces]
        return parts[0] if len(parts) == 1 else add_call(graph, aten.cat.default, (parts, 0))


def _pieces(values: list[fx.Node]) -> list[Piece]:
    pieces: list[Piece] = []
    for key, group in groupby(enumerate(values), lambda item: _key(*item)):
        found = list(group)
        if key is None:
            pieces += [value for _, value in found]
        else:
            low = key.offset + found[0][0]
            pieces.append((key.whole, low, low + len(found)))
    return pieces


class _Key(NamedTuple):
    """Equal for entries of one tensor that follow one another: their place in it, less that among the values."""

    whole: fx.Node
    offset: int


def _key(position: int, value: fx.Node) -> _Key | None:
    """None for a value that is not picked along the first dimension of a tensor."""
    if value.target is not aten.select.int or value.args[1] != 0:
        return None
    whole: Any = value.args[0]
    place: Any = value.args[2]
    return _Key(whole, place - position)


def _part(graph: fx.Graph, piece: Piece) -> fx.Node:
    if isinstance(piece, fx.Node):
        return add_call(graph, aten.unsqueeze.default, (piece, 0))
    whole, low, high = piece
    if (low, high) == (0, whole.meta["spec"].shape[0]):
        return whole
    return add_call(graph, aten.slice.Tensor, (whole, 0, low, high))
