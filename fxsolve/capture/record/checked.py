"""Functions that read numbers only to check them, written so that the check is one guard, and not each number."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor | None:
    """As `F.one_hot`, which reads the smallest and the largest class: (*) -> (*, num_classes).

    Without a number of classes the largest one decides the shape, so it has to be read.
    """
    if tensor.dtype != torch.int64 or not tensor.numel():
        return None
    if num_classes == -1:
        num_classes = int(tensor.max()) + 1
    if num_classes <= 0 or not bool(((tensor >= 0) & (tensor < num_classes)).all()):
        return None  # it raises
    zeros = torch.zeros(*tensor.shape, num_classes, dtype=torch.int64, device=tensor.device)
    return zeros.scatter_(-1, tensor.unsqueeze(-1), 1)


# Each gives None where the function itself has to run. None may call it: that call would come back here.
CHECKED: Mapping[Any, Callable[..., Any]] = {F.one_hot: _one_hot}
