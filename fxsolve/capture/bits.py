"""Bitwise comparison of two tensors."""

from torch import Tensor

from fxsolve.solvers.bitwise import to_bits


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether shape, dtype, device and every bit agree; all NaNs are one value, 0.0 and -0.0 are two."""
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    a, b = a.detach(), b.detach()
    equal = to_bits(a) == to_bits(b)
    if a.dtype.is_floating_point:
        equal |= a.isnan() & b.isnan()
    return bool(equal.all())
