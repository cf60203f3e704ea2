"""Affine chains, the loop that they mean, and every form of the scan through its public function."""

import math
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.solvers import affine_scan as public
from fxsolve.solvers.affine_scan import affine_scan
from fxsolve.solvers.scan_form import Form

FORMS = [Form("in order"), Form("logarithmic"), *(Form("blocked", chunk) for chunk in (2, 3, 8, 16, 64))]
BATCHES = [(), (0,), (1,), (4,), (2, 3), (2, 0, 3)]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


def loop(a: Tensor, b: Tensor) -> Tensor:
    """The recurrence as one would write it."""
    states = [b[0]]
    for factor, row in zip(a[1:], b[1:], strict=True):
        linear = factor * states[-1] if a.dim() == b.dim() else (factor @ states[-1].unsqueeze(-1)).squeeze(-1)
        states.append(linear + row)
    return torch.stack(states)


def solve(form: Form, a: Tensor, b: Tensor) -> Tensor:
    with mock.patch.object(public, "choose_form", return_value=form):
        return affine_scan(a, b)


@dataclass(frozen=True)
class Chain:
    a: Tensor
    b: Tensor


def chain(T: int, batch: tuple[int, ...], n: int | None, gain: float, dtype: torch.dtype, seed: int) -> Chain:
    """A diagonal chain, or one of n x n matrices whose singular values are about `gain`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (T, *batch) if n is None else (T, *batch, n, n)
    a = torch.randn(shape, dtype=dtype, generator=generator) * gain / math.sqrt(n or 1)
    return Chain(a, torch.randn(shape if n is None else shape[:-1], dtype=dtype, generator=generator))


chains = st.builds(
    chain,
    st.integers(1, 300),
    st.sampled_from(BATCHES),
    st.none() | st.integers(1, 5),
    st.floats(0.5, 1.5),
    st.sampled_from(DTYPES),
    st.integers(0, 2**20),
)


def assert_close(found: Tensor, given: Chain) -> None:
    """Each term of d_t is a product of up to T rounded factors: |error| <= c T eps scan(|a|, |b|), where that fits."""
    double = torch.complex128 if found.is_complex() else torch.float64
    wanted = loop(given.a.to(double), given.b.to(double))
    terms = loop(given.a.abs().double(), given.b.abs().double())
    fits = terms < math.sqrt(torch.finfo(found.dtype).max)
    bound = 4 * (len(wanted) + given.a.shape[-1] + 1) * torch.finfo(found.dtype).eps * terms
    assert ((found - wanted).abs() <= bound)[fits].all()
