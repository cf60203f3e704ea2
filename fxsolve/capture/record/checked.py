"""Functions that read numbers only to check them, written so that the check is one guard, and not each number."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_one_hot = F.one_hot


def _one_hot_checked(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """As `F.one_hot`, which reads the smallest and the largest class: (*) -> (*, num_classes).

    Without a number of classes the largest one decides the shape, so it has to be read.
    """
    if num_classes <= 0 or tensor.dtype != torch.int64 or not tensor.numel():
        return _one_hot(tensor, num_classes)
    if not bool(((tensor >= 0) & (tensor < num_classes)).all()):
        return _one_hot(tensor, num_classes)  # raises
    zeros = torch.zeros(*tensor.shape, num_classes, dtype=torch.int64, device=tensor.device)
    return zeros.scatter_(-1, tensor.unsqueeze(-1), 1)


CHECKED: Mapping[Any, Callable[..., Any]] = {_one_hot: _one_hot_checked}
