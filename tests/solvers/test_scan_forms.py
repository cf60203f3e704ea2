"""What each form of the scan costs, when it is chosen, and what overflow does to it."""

import math

import pytest
import torch
from torch import Tensor

from fxsolve.solvers.affine_maps import Diagonal, Maps
from fxsolve.solvers.blocked_scan import blocked_scan
from fxsolve.solvers.cyclic_reduction import cyclic_reduction
from fxsolve.solvers.scan_form import Form, choose_form
from tests.solvers.affine_chains import every_form, loop, solve


def test_every_form_is_chosen_somewhere_and_by_shape_alone() -> None:
    def name(T: int, N: int, n: int | None = None) -> str:
        matrix, vector = ((), ()) if n is None else ((n, n), (n, 1))
        return str(choose_form(torch.empty(T, N, *matrix), torch.empty(T, N, *vector)).name)

    assert [name(T, 1) for T in (1, 23, 24, 2**14, 2**14 + 1)] == ["in order"] * 2 + ["logarithmic"] * 2 + ["blocked"]
    assert [name(256, N) for N in (64, 65, 8191, 8192)] == ["logarithmic", "blocked", "blocked", "in order"]
    assert [name(256, 1, n) for n in (4, 5, 31, 32)] == ["logarithmic", "blocked", "blocked", "in order"]
    assert [name(256, 256, n) for n in (2, 8)] == ["blocked", "in order"]


@every_form
@pytest.mark.parametrize("dense", [False, True])
def test_products_that_overflow_do_not_spoil_states_that_do_not(form: Form, dense: bool) -> None:
    a, b = torch.full((200, 3), 1e30), torch.zeros(200, 3)
    b[:, 1] = 1.0
    a[:, 1] = 0.5
    a[150:, 2], b[140, 2] = 1e-35, 1e-38
    wanted = loop(a, b)
    if dense:
        # The product of two steps overflows in float64 as well.
        a, b = a.double(), b.double()
        a[:, 0] = 1e200
        found = solve(form, torch.diag_embed(a), b)
        wanted = loop(a, b)
    else:
        found = solve(form, a, b)
    assert torch.equal(found[:, 0], torch.zeros_like(found[:, 0]))
    torch.testing.assert_close(found[:, 1], wanted[:, 1])
    assert torch.equal(found[:, 2].isfinite(), wanted[:, 2].isfinite())
    torch.testing.assert_close(found[:142, 2], wanted[:142, 2])


class Counting(Maps):
    """Diagonal maps that count their calls."""

    def __init__(self) -> None:
        self.maps, self.calls, self.entries = Diagonal(), 0, 0

    def widen(self, values: Tensor) -> Tensor:
        return values

    def step(self, a: Tensor, x: Tensor, b: Tensor, out: Tensor) -> Tensor:
        self._count(1, b.numel())
        return self.maps.step(a, x, b, out)

    def compose(self, late: Tensor, early: Tensor) -> Tensor:
        return self.maps.compose(late, early)

    def reduce(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        self._count(len(a), b.numel())
        return self.maps.reduce(a, b)

    def _count(self, calls: int, entries: int) -> None:
        self.calls, self.entries = self.calls + calls, self.entries + entries


@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_the_logarithmic_form_makes_log2_T_passes(T: int) -> None:
    maps = Counting()
    cyclic_reduction(maps, torch.rand(T, 2), torch.randn(T, 2))
    assert maps.calls == math.ceil(math.log2(T))


@pytest.mark.parametrize(("T", "chunk", "levels"), [(4096, 16, 3), (4096, 64, 2), (1000, 10, 3), (5000, 8, 4)])
def test_the_blocked_form_does_linear_work_in_few_calls(T: int, chunk: int, levels: int) -> None:
    maps = Counting()
    blocked_scan(maps, torch.rand(T, 1), torch.randn(T, 1), chunk)
    assert maps.entries <= 2 * T * chunk / (chunk - 1) + T / chunk
    # Two runs over a chunk and at most one over what is left, on every level.
    assert maps.calls <= 3 * chunk * levels
