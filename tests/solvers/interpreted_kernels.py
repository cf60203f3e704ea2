"""Tests that Triton's interpreter must run: `test_scan_kernels.py` starts them with TRITON_INTERPRET=1."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter

from fxsolve.solvers.affine_scan import scan_dense, scan_diagonal
from fxsolve.solvers.scan_kernels import scan_dense_kernel, scan_diagonal_kernel

FLOAT, DOUBLE = torch.float32, torch.float64
LENGTHS = [1, 5, 17]
# NumPy, which the interpreter computes with, warns.
overflows = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def integers_as_in_triton_3_7(monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter of Triton 3.6 makes an int of an array of one entry, which NumPy >= 2.5 refuses.
    patch = interpreter._patch_lang_tensor

    def patch_too(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patch_too)


def examples(T: int, N: int, n: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    shape = (T, N) if n is None else (T, N, n)
    matrix = shape if n is None else (*shape, n)
    return torch.randn(matrix, dtype=dtype) * 0.8 / math.sqrt(n or 1), torch.randn(shape, dtype=dtype)


def assert_close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=200 * torch.finfo(dtype).eps * len(found))


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
@pytest.mark.parametrize("N", [1, 130])
@pytest.mark.parametrize("T", LENGTHS)
def test_the_diagonal_kernel_gives_the_scan(T: int, N: int, dtype: torch.dtype) -> None:
    a, b = examples(T, N, None, dtype)
    assert_close(scan_diagonal_kernel(a, b), scan_diagonal(a.double(), b.double()), dtype)


@pytest.mark.parametrize(("N", "n", "dtype"), [(1, 1, FLOAT), (2, 3, FLOAT), (1, 4, DOUBLE), (1, 16, FLOAT)])
@pytest.mark.parametrize("T", LENGTHS)
def test_the_dense_kernel_gives_the_scan(T: int, N: int, n: int, dtype: torch.dtype) -> None:
    a, b = examples(T, N, n, dtype)
    assert_close(scan_dense_kernel(a, b), scan_dense(a.double(), b.double()), dtype)


@overflows
@pytest.mark.parametrize("n", [None, 3])
def test_later_steps_and_the_first_factor_change_no_bit(n: int | None) -> None:
    scan = scan_diagonal_kernel if n is None else scan_dense_kernel
    a, b = examples(30, 1, n, torch.float32)
    wanted = scan(a, b)
    a[0], a[19:], b[19:] = math.nan, math.inf, math.nan
    assert torch.equal(scan(a, b)[:19], wanted[:19])


@overflows
def test_products_that_overflow_are_run_in_order() -> None:
    a, b = torch.full((40, 2), 1e30), torch.zeros(40, 2)
    a[:, 1], b[:, 1] = 0.5, 1.0
    for found in (scan_diagonal_kernel(a, b), scan_dense_kernel(torch.diag_embed(a).unsqueeze(1), b.unsqueeze(1))):
        states = found.view(40, 2)
        assert torch.equal(states[:, 0], torch.zeros(40))
        torch.testing.assert_close(states[:, 1], scan_diagonal(a[:, 1], b[:, 1]))


def test_strided_inputs_are_read_by_value() -> None:
    a, b = examples(6, 30, None, torch.float32)
    torch.testing.assert_close(scan_diagonal_kernel(a.mT, b.mT), scan_diagonal(a.mT, b.mT))
