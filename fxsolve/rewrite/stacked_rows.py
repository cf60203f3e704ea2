"""Rows that steps make, put into a buffer behind the loop."""

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.strides import stacked

aten = torch.ops.aten


def stack_rows(
    opened: OpenRepeat, after: BlockBuilder, name: str, value: fx.Node, places: range, dim: int
) -> tuple[fx.Node, int, int, int, int]:
    """Hand out a value of all steps under a name; returns the arguments of a `slice_scatter` into rows at `places`."""
    opened.steps[name] = value
    rows = after.read(name, stacked(value.meta["spec"], opened.length))
    if places.step < 0:
        rows, places = after.call(aten.flip.default, rows, [0]), places[::-1]
    return after.call(aten.movedim.int, rows, 0, dim), dim, places.start, places[-1] + 1, places.step
