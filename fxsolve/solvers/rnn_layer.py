"""The LSTM layer of oneDNN and its derivative, for tensors of any strides and in any grad mode.

PyTorch's operators read their arguments as if they were contiguous. While gradients are enabled they round in another
way, and give the workspace, which the derivative reads. Autograd, their one caller, sees to both.
"""

from typing import Any

import torch
from torch import Tensor


def rnn_layer(*args: Any) -> tuple[Tensor, ...]:
    """`torch.mkldnn_rnn_layer` in the grad mode that its last argument tells, which is `train` for autograd."""
    with torch.set_grad_enabled(args[-1]):
        return torch.mkldnn_rnn_layer(*map(_contiguous, args))


def rnn_layer_backward(*args: Any) -> tuple[Tensor, ...]:
    """`torch.ops.aten.mkldnn_rnn_layer_backward`."""
    return torch.ops.aten.mkldnn_rnn_layer_backward.default(*map(_contiguous, args))


def _contiguous(value: Any) -> Any:
    return value.detach().contiguous() if isinstance(value, Tensor) else value
