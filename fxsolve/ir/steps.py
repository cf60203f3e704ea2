"""Entries of stacked steps that are evenly spaced, as one slice."""

from itertools import pairwise

import torch
from torch import fx

from fxsolve.ir.builder import BlockBuilder

aten = torch.ops.aten


def slice_steps(builder: BlockBuilder, stack: fx.Node, steps: list[int]) -> fx.Node:
    """Entries along the first dimension that are evenly spaced."""
    distances = {b - a for a, b in pairwise(steps)} or {1}
    distance = distances.pop()
    if distance < 0:
        flipped = builder.call(aten.slice.Tensor, stack, 0, steps[-1], steps[0] + 1, -distance)
        return builder.call(aten.flip.default, flipped, [0])
    if distance == 0:
        one = builder.call(aten.slice.Tensor, stack, 0, steps[0], steps[0] + 1)
        return builder.call(aten.cat.default, [one] * len(steps), 0)
    return builder.call(aten.slice.Tensor, stack, 0, steps[0], steps[-1] + 1, distance)
