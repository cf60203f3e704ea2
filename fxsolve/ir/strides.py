"""How a tensor lies in memory, from its spec."""

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


def contiguous(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    """The spec with another shape, laid out in order and without gaps."""
    return spec._replace(shape=shape, stride=torch.empty(shape, device="meta").stride())


def stacked(spec: TensorSpec, steps: int) -> TensorSpec:
    """The spec of the values of so many steps, stacked along a new first dimension."""
    return contiguous(spec, (steps, *spec.shape))


def overlaps(spec: TensorSpec) -> bool:
    """Whether two entries may share memory, as those of an expanded tensor do."""
    reached = 0
    for stride, size in sorted(zip(spec.stride, spec.shape, strict=True)):
        if size > 1 and stride <= reached:
            return True
        reached += stride * (size - 1) if size > 1 else 0
    return False
