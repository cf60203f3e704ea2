import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.errors import ScheduleError
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.layout import Layout
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.scan import scan
from fxsolve.solvers.solution import Solution, observe
from tests.solvers.cells import mix

Results = tuple[Tensor, ...]


class Affine(nn.Module):
    """y_t = A_t s_{t-1} + b_t, carried, and (y_t)^2, which is not; A_t is (B, n, n) or, where n = 1, (B,)."""

    def forward(self, s: Tensor, a: Tensor, b: Tensor) -> Results:
        new = (a * s if a.dim() == s.dim() else mix(a, s)) + b
        return new * new, new


class Linear(nn.Module):
    def forward(self, s: Tensor, a: Tensor, b: Tensor) -> Results:
        return (*Affine()(s, a, b), a)


@dataclass(frozen=True)
class System:
    a: Tensor
    b: Tensor
    start: Tensor

    @property
    def loop(self) -> Loop:
        return Loop(Affine(), len(self.a), (LoopLag(1, 1),), stacked=(0, 1), last=(1,))

    @property
    def layout(self) -> Layout:
        shape = tuple(self.start.shape)
        batch = shape if self.a.dim() == self.b.dim() else shape[:-1]
        return Layout((1,), (shape,), batch, (tuple(range(len(shape))),))

    @property
    def arguments(self) -> tuple[object, ...]:
        return ((self.start,),), (), (self.a, self.b), ()

    def sequential(self) -> Results:
        return gauss_seidel(self.loop, *self.arguments)

    def double(self) -> "System":
        return System(self.a.double(), self.b.double(), self.start.double())

    def scan(self) -> tuple[Results, Solution]:
        with observe() as seen:
            results = scan(self.loop, Linear(), self.layout, *self.arguments)
        (solution,) = seen
        return results, solution


def make_system(length: int, size: int, gain: float, dtype: torch.dtype, seed: int, dense: bool = True) -> System:
    generator = torch.Generator().manual_seed(seed)

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    a = values(length, 2, size, size) / size**0.5 if dense else values(length, 2, size).sign()
    return System(gain * a, values(length, 2, size), values(2, size))


def systems(dtype: torch.dtype, gains: tuple[float, ...]) -> st.SearchStrategy[System]:
    return st.builds(
        make_system,
        st.integers(1, 70),
        st.integers(1, 4),
        st.sampled_from(gains),
        st.just(dtype),
        st.integers(0, 2**32),
        st.booleans(),
    )


def error_of(results: Results, system: System) -> float:
    """The largest error of the carried state against float64, over the largest state up to there."""
    exact = system.double().sequential()[1]
    reached = exact.abs().flatten(1).amax(1).cummax(0).values
    return ((results[1].double() - exact).abs().flatten(1).amax(1) / reached.clamp(min=1e-30)).amax().item()


# At larger gains the products of a scan may be ill conditioned: its error is bounded by that of |A| and |b|, as tested
# for the affine scan itself, and not by the states.
@settings(max_examples=60, deadline=None)
@given(systems(torch.float32, (0.5, 0.9, 1.0, 1.2)))
def test_one_scan_is_as_close_to_the_exact_result_as_the_loop_itself(system: System) -> None:
    results, solution = system.scan()
    eps = torch.finfo(system.a.dtype).eps
    loop_error = error_of(system.sequential(), system)
    assert error_of(results, system) <= 8 * loop_error + 64 * eps
    assert (solution.method, solution.sweeps) == ("scan", 1)
    assert solution.status in ("converged", "exact")
    assert torch.equal(results[0], results[1] * results[1])
    assert torch.equal(results[2], results[1][-1])


@settings(max_examples=30, deadline=None)
@given(systems(torch.float64, (0.9,)), st.integers(0, 69), st.sampled_from([math.nan, math.inf]))
def test_a_non_finite_input_comes_out_as_in_the_sequential_run(system: System, at: int, bad: float) -> None:
    system.b[at % len(system.b)] = bad
    for result, wanted in zip(system.scan()[0], system.sequential(), strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("dense", [False, True])
def test_products_that_overflow_where_the_states_do_not_cost_time_and_never_values(dense: bool) -> None:
    """The factors grow to infinity, but the state they multiply is 0 until the last factor, 0 itself, has passed."""
    system = make_system(200, 2, 1.0, torch.float32, 0, dense)
    system.a[:] = 1e3 * system.a.sign()
    system.a[150] = 0
    system.b[:150] = 0
    results, _ = System(system.a, system.b, torch.zeros(2, 2)).scan()
    expected = System(system.a, system.b, torch.zeros(2, 2)).sequential()
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-4, atol=0.0, equal_nan=True)


def test_a_wrong_jacobian_costs_time_and_never_values() -> None:
    class Wrong(nn.Module):
        def forward(self, s: Tensor, a: Tensor, b: Tensor) -> Results:
            return (*Affine()(s, a, b), 0.5 * a)

    system = make_system(50, 3, 0.9, torch.float64, 0)
    with observe() as seen:
        results = scan(system.loop, Wrong(), system.layout, *system.arguments)
    assert seen[0].status == "finished sequentially"
    for result, wanted in zip(results, system.sequential(), strict=True):
        assert torch.equal(result, wanted)


def test_a_loop_that_reads_two_steps_back_is_refused() -> None:
    system = make_system(5, 2, 0.9, torch.float64, 0)
    loop = Loop(Affine(), 5, (LoopLag(1, 2),), stacked=(1,))
    with pytest.raises(ScheduleError, match=r"the layout holds the outputs .1,., each read one step back, but loop"):
        scan(loop, Linear(), system.layout, *system.arguments)
