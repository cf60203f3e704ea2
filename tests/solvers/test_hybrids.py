"""Sliding windows, chunks in order, Picard, levels: each gives the sequential result, in as few sweeps as the law."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.errors import ScheduleError
from fxsolve.solvers.jacobi_gs import jacobi_gs
from fxsolve.solvers.levels import levels
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.picard import picard
from fxsolve.solvers.sliding import sliding
from fxsolve.solvers.solution import Solution, observe
from tests.solvers.cases import Case, cases

EXACT = {"rtol": 0.0, "atol": 0.0, "equal_nan": True}
Results = tuple[Tensor, ...]


def solve(method: Callable[..., Results], case: Case, *options: object) -> tuple[Results, Solution]:
    with observe() as seen:
        results = method(case.loop, case.initial, case.buffers, case.per_step, case.shared, *options)
    (solution,) = seen
    return results, solution


def assert_same(results: Results, expected: Results, **tolerance: object) -> None:
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, **tolerance)


def fits(case: Case, chunk: int) -> bool:
    return all(lag.distance <= chunk for lag in case.loop.lags)


@settings(max_examples=50, deadline=None)
@given(cases(torch.int64, "modulo"), st.integers(1, 14))
def test_a_sliding_window_of_any_width_is_exact_after_at_most_one_sweep_a_step(case: Case, window: int) -> None:
    results, solution = solve(sliding, case, 0.0, 0.0, None, window)
    assert_same(results, case.sequential(), **EXACT)
    assert (solution.status, solution.method, solution.prefix) == ("exact", "sliding", case.loop.length)
    assert solution.sweeps <= case.loop.length


@settings(max_examples=50, deadline=None)
@given(cases(torch.int64, "modulo"), st.data())
def test_chunks_in_order_are_exact_after_at_most_as_many_sweeps_as_there_are_chunks(
    case: Case, data: st.DataObject
) -> None:
    longest = max((lag.distance for lag in case.loop.lags), default=1)
    assume(longest <= case.loop.length)
    chunk = data.draw(st.integers(longest, case.loop.length))
    results, solution = solve(jacobi_gs, case, 0.0, 0.0, None, chunk)
    assert_same(results, case.sequential(), **EXACT)
    number, rest = divmod(case.loop.length, chunk)
    assert solution.sweeps <= number + rest
    assert (solution.status, solution.method, solution.prefix) == ("exact", "jacobi_gs", case.loop.length)


@settings(max_examples=30, deadline=None)
@given(cases(torch.int64, "modulo"))
def test_as_many_sweeps_as_the_loop_is_deep_need_no_test(case: Case) -> None:
    results, solution = solve(levels, case, case.depth)
    assert_same(results, case.sequential(), **EXACT)
    assert (solution.status, solution.sweeps) == ("exact", case.depth)


@settings(max_examples=30, deadline=None)
@given(cases(torch.int64, "modulo") | cases(torch.float64, "tanh", gain=2.0))
def test_picard_is_exact_after_at_most_depth_sweeps(case: Case) -> None:
    results, solution = solve(picard, case, 0.0, 0.0, None, (0, case.loop.length))
    assert_same(results, case.sequential(), rtol=0.0, atol=1e-12)
    assert solution.status == "exact"
    assert solution.sweeps <= case.depth


@settings(max_examples=30, deadline=None)
@given(cases(torch.float32, "tanh", gain=2.0, buffers=False), st.integers(1, 14))
def test_without_tolerance_no_bit_differs(case: Case, size: int) -> None:
    expected = case.sequential()
    length = case.loop.length
    assert_same(solve(sliding, case, 0.0, 0.0, None, size)[0], expected, **EXACT)
    assert_same(solve(picard, case, 0.0, 0.0, None, (0, length))[0], expected, **EXACT)
    assert_same(solve(levels, case, case.depth)[0], expected, **EXACT)
    if size <= length and fits(case, size):
        assert_same(solve(jacobi_gs, case, 0.0, 0.0, None, size)[0], expected, **EXACT)


@settings(max_examples=30, deadline=None)
@given(cases(torch.float64, "tanh"), st.sampled_from([1e-10, 1e-4]), st.integers(1, 14))
def test_a_contraction_of_one_half_errs_by_at_most_the_tolerance(case: Case, atol: float, size: int) -> None:
    """Every step that a window slides past may bring the tolerance once, and forgets half of what came before."""
    expected = case.sequential()
    close = {"atol": 4 * atol, "rtol": 0.0}
    length = case.loop.length
    assert_same(solve(sliding, case, atol, 0.0, None, size)[0], expected, **close)
    assert_same(solve(picard, case, atol, 0.0, None, (0, length))[0], expected, **close)
    if size <= length and fits(case, size):
        assert_same(solve(jacobi_gs, case, atol, 0.0, None, size)[0], expected, **close)


@settings(max_examples=30, deadline=None)
@given(cases(torch.float64, "square", gain=30.0, most=9), st.integers(1, 10))
def test_diverging_maps_come_out_as_in_the_sequential_run(case: Case, size: int) -> None:
    expected = case.sequential()
    close = {"rtol": 1e-9, "atol": 0.0, "equal_nan": True}
    length = case.loop.length
    assert_same(solve(sliding, case, 0.0, 0.0, None, size)[0], expected, **close)
    assert_same(solve(picard, case, 0.0, 0.0, None, (0, length))[0], expected, **close)
    assert_same(solve(levels, case, case.depth)[0], expected, **close)
    if size <= length and fits(case, size):
        assert_same(solve(jacobi_gs, case, 0.0, 0.0, None, size)[0], expected, **close)


@settings(max_examples=30, deadline=None)
@given(
    cases(torch.float64, "tanh", most=8), st.integers(0, 7), st.sampled_from([math.nan, math.inf]), st.integers(1, 9)
)
def test_a_non_finite_input_comes_out_as_in_the_sequential_run(case: Case, at: int, bad: float, size: int) -> None:
    case.per_step[0][at % case.loop.length] = bad
    expected = case.sequential()
    close = {"rtol": 1e-9, "atol": 4e-9, "equal_nan": True}
    assert_same(solve(sliding, case, 1e-9, 0.0, None, size)[0], expected, **close)
    assert_same(solve(picard, case, 1e-9, 0.0, None, (0, case.loop.length))[0], expected, **close)
    assert_same(solve(levels, case, case.depth)[0], expected, **close)
    if size <= case.loop.length and fits(case, size):
        assert_same(solve(jacobi_gs, case, 1e-9, 0.0, None, size)[0], expected, **close)


@settings(max_examples=30, deadline=None)
@given(cases(torch.int64, "modulo"), st.integers(1, 3), st.integers(1, 14))
def test_a_limit_on_the_sweeps_costs_time_and_never_values(case: Case, most: int, size: int) -> None:
    expected = case.sequential()
    results, solution = solve(sliding, case, 0.0, 0.0, most, size)
    assert_same(results, expected, **EXACT)
    assert solution.prefix == case.loop.length
    if solution.status == "finished sequentially":
        assert most <= solution.sweeps <= most + case.loop.length
    assert_same(solve(picard, case, 0.0, 0.0, most, (0, case.loop.length))[0], expected, **EXACT)
    if size <= case.loop.length and fits(case, size):
        assert_same(solve(jacobi_gs, case, 0.0, 0.0, most, size)[0], expected, **EXACT)


class Counted(nn.Module):
    """s_t = tanh(gain s_{t-1}) + x_t; notes how many steps each call evaluates."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.lengths: list[int] = []

    def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
        self.lengths.append(len(x))
        return (torch.tanh(self.gain * s) + x,)


def chain(length: int, gain: float) -> Case:
    x = torch.sin(torch.arange(length, dtype=torch.float64))
    loop = Loop(Counted(gain), length, (LoopLag(0, 1),), stacked=(0,))
    return Case(loop, ((torch.zeros((), dtype=x.dtype),),), (), (x,), ())


@pytest.mark.parametrize(("window", "length"), [(16, 200), (64, 200), (200, 200), (300, 200), (1, 20)])
def test_every_sweep_of_a_sliding_window_has_the_same_length(window: int, length: int) -> None:
    case = chain(length, 0.8)
    solve(sliding, case, 1e-9, 0.0, None, window)
    assert set(case.loop.body.lengths) == {min(window, length)}


def test_a_window_saves_evaluations_and_not_accuracy() -> None:
    case, whole = chain(512, 0.9), chain(512, 0.9)
    results, solution = solve(sliding, case, 1e-9, 0.0, None, 32)
    full, _ = whole.swept(atol=1e-9), whole.loop.body.lengths
    assert solution.status == "converged"
    assert sum(case.loop.body.lengths) < sum(whole.loop.body.lengths) / 2
    assert_same(results, full, atol=1e-8, rtol=0.0)
    assert solution.prefix < 512


def test_a_window_that_its_sweeps_settle_bit_by_bit_proves_every_step() -> None:
    case = chain(256, 0.1)
    results, solution = solve(sliding, case, 0.0, 0.0, None, 32)
    assert (solution.status, solution.prefix) == ("exact", 256)
    assert solution.sweeps < 200
    assert_same(results, chain(256, 0.1).swept(), **EXACT)


def test_chunks_are_called_with_all_chunks_at_once_and_the_rest_one_by_one() -> None:
    case = chain(43, 0.5)
    solve(jacobi_gs, case, 1e-9, 0.0, None, 8)
    assert set(case.loop.body.lengths) == {5, 1}
    assert case.loop.body.lengths.count(1) == 3


def test_chunks_longer_than_the_memory_of_a_contraction_need_few_sweeps() -> None:
    case = chain(1024, 0.5)
    results, solution = solve(jacobi_gs, case, 1e-9, 0.0, None, 64)
    assert solution.sweeps <= 3
    assert_same(results, case.swept(atol=1e-12), atol=1e-8, rtol=0.0)


def test_picard_solves_a_slow_walk_in_fewer_sweeps_than_jacobi() -> None:
    class Walk(nn.Module):
        """s_t = s_{t-1} - 0.01 sin(s_{t-1}) + x_t."""

        def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
            return (s - 0.01 * torch.sin(s) + x,)

    x = 0.1 * torch.cos(torch.arange(200, dtype=torch.float64))
    case = Case(Loop(Walk(), 200, (LoopLag(0, 1),), stacked=(0,)), ((torch.ones((), dtype=x.dtype),),), (), (x,), ())
    results, solution = solve(picard, case, 1e-10, 0.0, None, (0, 200))
    with observe() as seen:
        expected = case.swept()
    assert solution.status in ("converged", "exact")
    assert solution.sweeps <= 25 < seen[0].sweeps
    assert_same(results, expected, atol=1e-9, rtol=0.0)


def test_levels_that_overflow_on_the_way_are_finished_in_order() -> None:
    class Masked(nn.Module):
        """Reads the step before through a factor of 0: infinity there is NaN here."""

        def forward(self, s: Tensor, x: Tensor, factor: Tensor) -> tuple[Tensor]:
            return (torch.exp(s * factor) + x,)

    x = torch.full((6,), 90.0)
    factor = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    case = Case(Loop(Masked(), 6, (LoopLag(0, 1),), stacked=(0,)), ((torch.zeros(()),),), (), (x, factor), ())
    results, solution = solve(levels, case, 2)
    assert solution.status == "finished sequentially"
    assert_same(results, case.sequential(), **EXACT)


def test_an_empty_batch_is_solved_by_every_method() -> None:
    x = torch.empty(5, 0)
    case = Case(Loop(Counted(1.0), 5, (LoopLag(0, 1),), stacked=(0,)), ((torch.empty(0),),), (), (x,), ())
    for method, options in [
        (sliding, (0.0, 0.0, None, 2)),
        (jacobi_gs, (0.0, 0.0, None, 2)),
        (picard, (0.0, 0.0, None, (0, 5))),
        (levels, (5,)),
    ]:
        assert solve(method, case, *options)[0][0].shape == (5, 0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex128, torch.bfloat16])
def test_other_types_of_state_are_solved(dtype: torch.dtype) -> None:
    class Flip(nn.Module):
        def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
            return (s != x,) if s.dtype == torch.bool else (s * x,)

    x = (torch.arange(9) % 3 == 1).to(dtype)
    case = Case(Loop(Flip(), 9, (LoopLag(0, 1),), stacked=(0,)), ((torch.ones((), dtype=dtype),),), (), (x,), ())
    expected = case.sequential()
    assert_same(solve(sliding, case, 0.0, 0.0, None, 4)[0], expected, **EXACT)
    assert_same(solve(jacobi_gs, case, 0.0, 0.0, None, 4)[0], expected, **EXACT)
    assert_same(solve(picard, case, 0.0, 0.0, None, (0, 9))[0], expected, **EXACT)
    assert_same(solve(levels, case, 9)[0], expected, **EXACT)


def test_options_that_no_loop_can_follow_are_refused() -> None:
    case = chain(3, 0.5)
    with pytest.raises(ScheduleError, match="loop has a window of 0 steps; it needs one or more"):
        solve(sliding, case, 0.0, 0.0, None, 0)
    with pytest.raises(ScheduleError, match="loop has chunks of 4 steps; it needs 1 to 3"):
        solve(jacobi_gs, case, 0.0, 0.0, None, 4)
    with pytest.raises(ScheduleError, match="loop has depth = 0; every equation has a level of 1 or more"):
        solve(levels, case, 0)
    with pytest.raises(ScheduleError, match="loop has max_sweeps = 0; allow one sweep or more"):
        solve(sliding, case, 0.0, 0.0, 0, 2)
