"""Products over what is joined, in parts: those that read no earlier step leave the recurrence.

    cat(x_t, h) W + b  =  (x_t W_x + b) + h W_h

The sum rounds in another order, within the error bound of a product. The first part needs no earlier step, so that it
is computed for all steps at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import add_call, stand_in
from fxsolve.ir.calls import join_dim
from fxsolve.ir.spec import Lag, Prefix, Read
from fxsolve.rewrite.fission import closed_under

aten = torch.ops.aten

_PRECISE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@dataclass(frozen=True)
class _Neighbours:
    """Neighbours among what is joined, at `start <= i < stop`; `is_free` if no earlier step is read."""

    is_free: bool
    pieces: tuple[fx.Node, ...]
    start: int
    stop: int


def take_apart(opened: OpenRepeat) -> None:
    """Write each product over a join, of which one part reads earlier steps and another does not, as a sum of two."""
    free = {node for node, read in opened.reads.items() if _is_early(read)} | closed_under(opened, _is_early)
    for node in opened.computed():
        if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
            continue
        *bias, join, weight = node.args
        if not free.issuperset((*bias, weight)) or not _is_row_of_parts(join):
            continue
        parts = sorted(_parts(join, free), key=lambda part: not part.is_free)  # pyright: ignore[reportArgumentType]
        if len({part.is_free for part in parts}) == 2:
            opened.replace(node, _sum_of(opened.graph, node, parts))


def _is_early(read: Read) -> bool:
    """Whether what is read is there before the first step."""
    return not isinstance(read, (Lag, Prefix))


def _is_row_of_parts(node: object) -> bool:
    if not isinstance(node, fx.Node) or node.target is not aten.cat.default:
        return False
    joined, pieces = node.meta["spec"], [piece.meta["spec"] for piece in node.args[0]]  # pyright: ignore
    # A join converts its pieces, and leaves out those without a dimension; a product does neither.
    are_rows = all(piece.dtype == joined.dtype and len(piece.shape) == 2 for piece in pieces)
    return join_dim(node) == 1 and joined.dtype in _PRECISE and are_rows


def _parts(join: fx.Node, free: set[fx.Node]) -> Iterator[_Neighbours]:
    start = 0
    for is_free, run in groupby(join.args[0], free.__contains__):  # pyright: ignore
        pieces = tuple(run)
        stop = start + sum(piece.meta["spec"].shape[1] for piece in pieces)
        yield _Neighbours(is_free, pieces, start, stop)
        start = stop


def _sum_of(graph: fx.Graph, node: fx.Node, parts: list[_Neighbours]) -> fx.Node:
    *total, _, weight = node.args
    for part in parts:
        with graph.inserting_before(node):
            x = part.pieces[0]
            if len(part.pieces) > 1:
                x = add_call(graph, aten.cat.default, (part.pieces, 1), like=node)
            rows = add_call(graph, aten.slice.Tensor, (weight, 0, part.start, part.stop), like=node)
            target = aten.addmm.default if total else aten.mm.default
            total = [stand_in(graph, node, target, (*total, x, rows))]
    return total[0]  # pyright: ignore[reportReturnType]
