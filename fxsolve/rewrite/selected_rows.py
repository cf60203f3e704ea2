"""Which rows of a buffer the steps of a loop read or write: one each step, in order or all over the place."""

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.spec import Table

aten = torch.ops.aten
Rows = tuple[int, ...]  # of each step


def selected_rows(opened: OpenRepeat, call: fx.Node, base: fx.Node, dim: int) -> Rows | None:
    """The rows along `dim` of `base` that a call selects, one at each step; None if it does something else."""
    shape = base.meta["spec"].shape
    if call.target is not aten.select.int or not isinstance(call.args[1], int):
        return None
    return rows_at(opened, call.args[2], shape[dim]) if call.args[1] % len(shape) == dim else None


def rows_at(opened: OpenRepeat, index: object, size: int) -> Rows | None:
    """The rows that an index of `size` rows, a number or a table of them, means at each step; None for a tensor."""
    read = opened.reads.get(index) if isinstance(index, fx.Node) else Table((index,) * opened.length)  # pyright: ignore
    return tuple(int(row) % size for row in read.values) if isinstance(read, Table) else None
