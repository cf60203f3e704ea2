"""How a tensor lies in memory, from its spec."""

from typing import Any

import torch

from fxsolve.ir.tensor_spec import TensorSpec


def is_contiguous(spec: TensorSpec) -> bool:
    """Whether the entries lie in order and without gaps."""
    expected = 1
    for size, stride in zip(reversed(spec.shape), reversed(spec.stride), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def order_in_memory(spec: TensorSpec) -> list[int]:
    """The dimensions of a value in the order in which they lie in memory."""
    return sorted(range(len(spec.shape)), key=lambda dim: (-spec.stride[dim], dim))


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


def lies_as(one: TensorSpec, other: TensorSpec) -> bool:
    """Whether two tensors of one shape lie in memory in one way, but for dimensions of one entry."""
    return all(a == b or size == 1 for size, a, b in zip(one.shape, one.stride, other.stride, strict=True))


def contiguous(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    """The spec with another shape, laid out in order and without gaps."""
    return spec._replace(shape=shape, stride=torch.empty(shape, device="meta").stride())


def stacked(spec: TensorSpec, steps: int) -> TensorSpec:
    """The spec of the values of so many steps, stacked along a new first dimension."""
    return contiguous(spec, (steps, *spec.shape))


def span(spec: TensorSpec) -> int:
    """The entries of memory from the first to the last one of a tensor that is not empty, gaps included."""
    return 1 + sum(stride * (size - 1) for stride, size in zip(spec.stride, spec.shape, strict=True))


def overlaps(spec: TensorSpec) -> bool:
    """Whether two entries may share memory, as those of an expanded tensor do."""
    reached = 0
    for stride, size in sorted(zip(spec.stride, spec.shape, strict=True)):
        if size > 1 and stride <= reached:
            return True
        reached += stride * (size - 1) if size > 1 else 0
    return False


def can_be_laid_out(spec: TensorSpec) -> bool:
    """Whether every entry has memory of its own, or shares it with all others along a dimension of stride 0."""
    kept = [k for k, stride in enumerate(spec.stride) if stride != 0 or spec.shape[k] == 1]
    shape, stride = (tuple(of[k] for k in kept) for of in (spec.shape, spec.stride))
    return not overlaps(spec._replace(shape=shape, stride=stride))
