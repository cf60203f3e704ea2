"""Functions of torch that ask whether a tensor or a mode overrides them; fxsolve answers some of them itself.

Under another name they would not be answered, and nothing would say so.
"""

from collections.abc import Callable
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.torch_compat.checks import require

_QUESTION = "has_torch_function"
_BACKWARD_PASSES = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
MODULES_OF_LAYERS = "torch.nn.modules."
_LAYERS = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)


def questions_of(code: CodeType) -> tuple[str, ...]:
    """The names, among those that a function looks up, of what it asks: `has_torch_function` and its shorter forms."""
    return tuple(name for name in code.co_names if name.startswith(_QUESTION))


def check_backward_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, which asks."""
    require(bool(questions_of(function.__code__)), f"{_QUESTION} in the code of {_name(function)}")  # pyright: ignore
    return function


def check_layer(forward: Callable[..., Any]) -> None:
    """Raise `TorchVersionError` unless a layer asks `torch.overrides`, each time anew."""
    names = forward.__code__.co_names  # pyright: ignore[reportFunctionMemberAccess]
    require({"overrides", _QUESTION} <= {*names}, f"torch.overrides.{_QUESTION} in the code of {_name(forward)}")
    is_there = forward.__globals__["__name__"].startswith(MODULES_OF_LAYERS)  # pyright: ignore
    require(is_there, f"{MODULES_OF_LAYERS}* for {_name(forward)}")


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


BACKWARD_PASSES = tuple(map(check_backward_pass, _BACKWARD_PASSES))
for _layer in _LAYERS:
    check_layer(_layer.forward)
