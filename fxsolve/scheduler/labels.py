"""Time labels of values, and how the simplest ops combine them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

NEVER = -1


@dataclass(frozen=True)
class Timed:
    """A value that depends on steps, by the latest step of each of its entries alone."""

    labels: Tensor


def labels_of(value: Any) -> Tensor:
    """The labels of a value; one that depends on no step has none."""
    if isinstance(value, Timed):
        return value.labels
    return torch.full(value.shape, NEVER, device=value.device) if isinstance(value, Tensor) else torch.tensor(NEVER)


def pointwise(*arguments: Any) -> Timed:
    """An entry depends on the entries at its own place."""
    labels = [value.labels for value in arguments if isinstance(value, Timed)]
    shapes = [value.shape for value in arguments if isinstance(value, Tensor)]
    shape = torch.broadcast_shapes(*(label.shape for label in labels), *shapes)
    result = labels[0].expand(shape)
    for label in labels[1:]:
        result = torch.maximum(result, label)
    return Timed(result)


def mix(timed: Sequence[Timed], example: Any) -> Any:
    """Every entry of a result of the form of `example` depends on every entry of every input."""
    latest = max((int(value.labels.max()) for value in timed if value.labels.numel()), default=NEVER)
    device = timed[0].labels.device
    return pytree.tree_map_only(Tensor, lambda value: Timed(torch.full(value.shape, latest, device=device)), example)


def mix_samples(value: Timed, example: Any) -> Any:
    """Every entry of a result depends on every entry of one input at its own place in the first dimension."""
    latest = value.labels.flatten(1).amax(1)

    def spread(result: Tensor) -> Timed:
        if not result.dim() or len(result) != len(latest):
            raise NotImplementedError
        return Timed(latest.view(-1, *(1 for _ in result.shape[1:])).expand(result.shape))

    return pytree.tree_map_only(Tensor, spread, example)
