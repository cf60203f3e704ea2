"""Tensors without values that stand for those of a graph."""

from typing import Any

import torch

from fxsolve.ir.tensor_spec import TensorSpec

META = torch.device("meta")


def empty_like_spec(spec: Any) -> Any:
    """A tensor without values for each spec."""
    if isinstance(spec, TensorSpec):
        return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=META)
    return None if spec is None else tuple(empty_like_spec(item) for item in spec)


def device_of(spec: Any) -> torch.device:
    """The device of a spec, or of the first one among those of several results."""
    return spec.device if isinstance(spec, TensorSpec) else next(item.device for item in spec if item is not None)


def on_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The options of a call with the device meta in the place of every other one."""
    return {key: META if isinstance(value, torch.device) else value for key, value in kwargs.items()}
