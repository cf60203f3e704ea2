"""Which tensors fxsolve handles."""

import torch
from torch import Tensor, nn

from fxsolve.errors import CaptureError, CommunicationError
from fxsolve.state.processes import communicates


def refuse_unusual(tensor: Tensor, what: str) -> None:
    """Raise CaptureError for a tensor subclass, a layout without strides, or a tensor without values."""
    if type(tensor) not in (Tensor, nn.Parameter):
        if reason := communicates(tensor, what):
            raise CommunicationError(reason)
        raise CaptureError(f"{what} is a {type(tensor).__name__}; fxsolve handles plain tensors and parameters.")
    if tensor.layout != torch.strided:
        raise CaptureError(f"{what} has layout {tensor.layout}; fxsolve handles strided tensors, convert it first.")
    if tensor.is_meta:
        raise CaptureError(f"{what} is on the device meta, where tensors have no values; fxsolve handles values.")
