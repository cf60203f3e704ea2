"""Tensors without values that stand for those of a record."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.ir.meta import META
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.torch_compat.tensors import overlaps_itself


def scattered(target: Tensor) -> Tensor:
    """What writing into a part of `target` gives; torch's own rule says the same, in Python and ten times as slowly."""
    if overlaps_itself(target):
        return target.clone()
    return torch.empty_strided(target.shape, target.stride(), dtype=target.dtype, device=META)


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
