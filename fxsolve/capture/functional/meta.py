"""Tensors without values that stand for those of a record."""

import torch
from torch import Tensor

from fxsolve.ir.meta import META
from fxsolve.ir.strides import is_dense
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.torch_compat.tensors import overlaps_itself


def scattered(target: Tensor) -> Tensor:
    """What writing into a part of `target` gives; torch's own rule says the same, in Python and ten times as slowly."""
    if overlaps_itself(target):
        return target.clone()
    return torch.empty_strided(target.shape, target.stride(), dtype=target.dtype, device=META)


def replaces(target: Tensor, value: Tensor) -> bool:
    """Whether a copy of `value` into `target` is `value` itself."""
    if value.shape != target.shape or value.dtype != target.dtype or value.device != target.device:
        return False
    return value.stride() == target.stride() or (value.is_contiguous() and not is_dense(spec_of(target)))
