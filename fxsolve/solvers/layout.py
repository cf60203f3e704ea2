"""How the carries of a loop lie in one state of independent small vectors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The state (*batch, n) of the carried outputs: entry i of `batch` depends only on entry i of the step before.

    `outputs` are the numbers of the carried outputs, each read one step back by exactly one lag, and `shapes` their
    shapes; `orders` permutes the dimensions of each such that the independent ones come first. n == 1 is diagonal.
    """

    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    batch: tuple[int, ...]
    orders: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How much of n each output takes."""
        independent = len(self.batch)
        return tuple(
            math.prod(shape[dim] for dim in order[independent:])
            for shape, order in zip(self.shapes, self.orders, strict=True)
        )


def pack(layout: Layout, values: Sequence[Tensor]) -> Tensor:
    """(L, *shape) of every carry -> (L, *batch, n)."""
    parts = [
        value.permute(0, *(dim + 1 for dim in order)).reshape(len(value), *layout.batch, size)
        for value, order, size in zip(values, layout.orders, layout.sizes, strict=True)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def unpack(layout: Layout, state: Tensor) -> tuple[Tensor, ...]:
    """(L, *batch, n) -> (L, *shape) of every carry; the inverse of `pack`."""
    parts = zip(state.split(layout.sizes, -1), layout.shapes, layout.orders, strict=True)
    return tuple(_unpack(part, shape, order) for part, shape, order in parts)


def _unpack(part: Tensor, shape: tuple[int, ...], order: tuple[int, ...]) -> Tensor:
    moved = part.reshape(len(part), *(shape[dim] for dim in order))
    back = sorted(range(len(order)), key=lambda k: order[k])
    return moved.permute(0, *(k + 1 for k in back))
