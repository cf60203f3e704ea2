"""The direct solve of a loop that is affine in its state: d_t = a_t d_{t-1} + b_t for all t at once."""

import math
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from fxsolve.errors import FxSolveError
from fxsolve.solvers.affine_maps import Dense, Diagonal
from fxsolve.solvers.scan_form import choose_form, run_form

_HALF = (torch.float16, torch.bfloat16)
# A program of the dense kernel holds n^3 products in registers.
_LARGEST_KERNEL_MATRIX = 16


def affine_scan(a: Tensor, b: Tensor) -> Tensor:
    """`scan_diagonal` where a (T, *batch) has as many dimensions as b, `scan_dense` where it has one more.

    Raises `FxSolveError` if it has neither.
    """
    extra = a.dim() - b.dim()
    if extra not in (0, 1):
        raise FxSolveError(
            f"a scan over a {tuple(a.shape)} and b {tuple(b.shape)} is neither diagonal nor dense; a has as many "
            "dimensions as b, (T, *batch), or one more, (T, *batch, n, n)"
        )
    return scan_dense(a, b) if extra else scan_diagonal(a, b)


def scan_diagonal(a: Tensor, b: Tensor) -> Tensor:
    """d_t = a_t * d_{t-1} + b_t with d_{-1} = 0, for a and b (T, *batch); a_0 is not read.

    Half precision is computed in float32 and rounded once. Each entry has its own recurrence, and the states up to t
    depend on what is given up to t alone, bit for bit. Rounding errors are relative to scan(|a|, |b|): where factors
    are composed, a state that is smaller than that by more than the range of its type may come out as 0. Raises
    `FxSolveError` for other shapes, for T = 0, for integers, and for inputs that need gradients, which a scan does not
    give.
    """
    _check(a, b, a.shape)
    dtype = torch.promote_types(a.dtype, b.dtype)
    if b.numel() == 0:
        return torch.empty_like(b, dtype=dtype)
    rows = (len(b), math.prod(b.shape[1:]))
    a, b, shape = _prepare(a, dtype).reshape(rows), _prepare(b, dtype).reshape(rows), b.shape
    if _has_kernel(b):
        from fxsolve.solvers.scan_kernels import scan_diagonal_kernel

        return scan_diagonal_kernel(a, b).view(shape).to(dtype)
    return run_form(choose_form(a, b), Diagonal(), a, b).view(shape).to(dtype)


def scan_dense(a: Tensor, b: Tensor) -> Tensor:
    """d_t = A_t d_{t-1} + b_t with d_{-1} = 0, for a (T, *batch, n, n) and b (T, *batch, n); A_0 is not read.

    The batch dimensions are the blocks of a block-diagonal A. All is computed in float64 (complex: complex128) and
    rounded once; the CUDA kernel for n <= 16 computes in float32 where a and b are. Errors, and the law of the prefix,
    are those of `scan_diagonal`.
    """
    _check(a, b, (*a.shape[:-2], a.shape[-1]) if a.shape[-2:-1] == a.shape[-1:] else ())
    if b.shape[-1] == 1:
        return scan_diagonal(a.squeeze(-1), b)
    dtype, n = torch.promote_types(a.dtype, b.dtype), b.shape[-1]
    if b.numel() == 0:
        return torch.empty_like(b, dtype=dtype)
    rows = (len(b), math.prod(b.shape[1:-1]), n)
    a, b, shape = _prepare(a, dtype).reshape(*rows, n), _prepare(b, dtype).reshape(rows), b.shape
    if _has_kernel(b) and n <= _LARGEST_KERNEL_MATRIX:
        from fxsolve.solvers.scan_kernels import scan_dense_kernel

        return scan_dense_kernel(a, b).view(shape).to(dtype)
    b = b.unsqueeze(-1)
    return run_form(choose_form(a, b), Dense(), a, b).view(shape).to(dtype)


def _check(a: Tensor, b: Tensor, expected: tuple[int, ...]) -> None:
    if b.dim() == 0 or len(b) == 0 or tuple(b.shape) != tuple(expected):
        raise FxSolveError(
            f"a scan over a {tuple(a.shape)} and b {tuple(b.shape)} does not fit; they must be (T, *batch) both, or "
            "(T, *batch, n, n) and (T, *batch, n), with T >= 1"
        )
    if not all(values.is_floating_point() or values.is_complex() for values in (a, b)):
        raise FxSolveError(f"a scan over {a.dtype} and {b.dtype} would round; both must be real or complex numbers")
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        raise FxSolveError("a scan has no derivative of its own; call it under torch.no_grad()")


def _prepare(values: Tensor, dtype: torch.dtype) -> Tensor:
    """`values` in the type that is computed in: `dtype`, or float32 for half precision."""
    return values.to(torch.float32 if dtype in _HALF else dtype).resolve_conj()


@cache
def _triton_is_installed() -> bool:
    return find_spec("triton") is not None


def _has_kernel(values: Tensor) -> bool:
    return values.is_cuda and not values.is_complex() and _triton_is_installed()
