"""Seconds that operations would take on a nominal machine: equal in every run, where a clock may decide nothing."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.torch_compat.dispatch import TorchDispatchMode
from fxsolve.torch_compat.operators import flop_rule

# One thread of the CPU that the prices were measured on.
_OP_SECONDS = 2e-6
_BYTE_SECONDS = 1 / 8e9
_FLOP_SECONDS = 1 / 2e10


class WorkCounter(TorchDispatchMode):
    """Counts the ATen calls of a thread, what they write, and what products compute."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seconds += _OP_SECONDS + _FLOP_SECONDS * _flops(func, args, kwargs or {}, result)
        if not func.is_view:
            self.seconds += _BYTE_SECONDS * _bytes(result)
        return result


def _flops(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> float:
    count = flop_rule(func)
    return count(*args, **kwargs, out_val=result) if count is not None else 0


def _bytes(result: Any) -> int:
    tensors = result if isinstance(result, tuple | list) else (result,)
    return sum(one.numel() * one.element_size() for one in tensors if isinstance(one, Tensor))


def counts_work() -> bool:
    """Whether decisions are to be the same in every run: `torch.use_deterministic_algorithms` says so."""
    return torch.are_deterministic_algorithms_enabled()
