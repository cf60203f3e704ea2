"""The form of a tensor: shape, strides, dtype and device, without its values."""

from typing import NamedTuple

import torch
from torch import Tensor

UNKNOWN = object()  # in the place of the spec of a tensor, where all that is known of it are some of its entries


class TensorSpec(NamedTuple):
    """Shape, stride, dtype and device of a value of the graph, kept in `node.meta["spec"]`."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def spec_of(tensor: Tensor, device: torch.device | None = None) -> TensorSpec:
    """Shape, stride, dtype and device of `tensor`; `device` replaces its own."""
    return TensorSpec(tuple(tensor.shape), tensor.stride(), tensor.dtype, device or tensor.device)
