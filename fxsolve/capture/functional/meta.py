"""Tensors without values that stand for those of a record."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.torch_compat.tensors import overlaps_itself

META = torch.device("meta")


def empty_like_spec(spec: Any) -> Any:
    """A tensor without values for each spec."""
    if isinstance(spec, TensorSpec):
        return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=META)
    return None if spec is None else tuple(empty_like_spec(item) for item in spec)


def scattered(target: Tensor) -> Tensor:
    """What writing into a part of `target` gives; torch's own rule says the same, in Python and ten times as slowly."""
    if overlaps_itself(target):
        return target.clone()
    return torch.empty_strided(target.shape, target.stride(), dtype=target.dtype, device=META)


def device_of(spec: Any) -> torch.device:
    """The device of a spec, or of the first one among those of several results."""
    return spec.device if isinstance(spec, TensorSpec) else next(item.device for item in spec if item is not None)


def on_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The options of a call with the device meta in the place of every other one."""
    return {key: META if isinstance(value, torch.device) else value for key, value in kwargs.items()}


def is_dense(spec: Any) -> bool:
    """Whether a single tensor's entries fill its memory without gaps, in any order of the dimensions."""
    if not isinstance(spec, TensorSpec):
        return False
    sizes = sorted((stride, size) for stride, size in zip(spec.stride, spec.shape, strict=True) if size != 1)
    expected = 1
    for stride, size in sizes:
        if stride != expected:
            return False
        expected *= size
    return True


def replaces(target: Tensor, value: Tensor) -> bool:
    """Whether a copy of `value` into `target` is `value` itself."""
    if value.shape != target.shape or value.dtype != target.dtype or value.device != target.device:
        return False
    return value.stride() == target.stride() or (value.is_contiguous() and not is_dense(spec_of(target)))
