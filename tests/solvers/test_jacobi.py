import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fxsolve.errors import ScheduleError
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.solution import Solution, observe
from tests.solvers.cases import Case, bounds, cases

EXACT = {"rtol": 0.0, "atol": 0.0, "equal_nan": True}


def solve(case: Case, **options: object) -> tuple[tuple[Tensor, ...], Solution]:
    with observe() as seen:
        results = case.swept(**options)
    (solution,) = seen
    return results, solution


def assert_same(results: tuple[Tensor, ...], expected: tuple[Tensor, ...], **tolerance: object) -> None:
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, **tolerance)


@settings(max_examples=60, deadline=None)
@given(cases(torch.int64, "modulo"), st.data())
def test_discrete_states_are_equal_after_at_most_depth_sweeps_with_any_windows(case: Case, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    expected = case.sequential()
    results, solution = solve(case)
    assert_same(results, expected, **EXACT)
    assert solution.sweeps <= case.depth
    assert (solution.status, solution.prefix) == ("exact", case.loop.length)
    results, solution = solve(case, bounds=limits)
    assert_same(results, expected, **EXACT)
    assert solution.status == "exact"


@settings(max_examples=60, deadline=None)
@given(cases(torch.float32, "tanh", buffers=False), st.data())
def test_without_tolerance_the_values_are_bitwise_equal(case: Case, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    results, solution = solve(case, bounds=limits)
    assert_same(results, case.sequential(), **EXACT)
    assert (solution.status, solution.prefix) == ("exact", case.loop.length)


@settings(max_examples=60, deadline=None)
@given(cases(torch.float64, "tanh"), st.sampled_from([0.0, 1e-10, 1e-4]), st.data())
def test_a_contraction_of_one_half_errs_by_at_most_the_tolerance(case: Case, atol: float, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    results, solution = solve(case, atol=atol, bounds=limits)
    windows = len(limits) - 1
    assert_same(results, case.sequential(), atol=2 * windows * atol + 1e-13, rtol=0.0)
    assert solution.change <= atol or solution.status == "exact"


@settings(max_examples=40, deadline=None)
@given(cases(torch.float64, "square", gain=30.0, most=9), st.data())
def test_diverging_maps_come_out_as_in_the_sequential_run(case: Case, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    expected = case.sequential()
    results, _ = solve(case, bounds=limits)
    assert_same(results, expected, rtol=1e-9, atol=0.0, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(cases(torch.float64, "tanh", most=8), st.integers(0, 7), st.sampled_from([math.nan, math.inf]))
def test_a_non_finite_input_comes_out_as_in_the_sequential_run(case: Case, at: int, bad: float) -> None:
    arriving = case.per_step[0]
    arriving[at % case.loop.length] = bad
    results, solution = solve(case, atol=1e-9)
    assert_same(results, case.sequential(), rtol=1e-9, atol=2e-9, equal_nan=True)
    if any(result.isnan().any() for result in results) and case.depth > 1:
        assert solution.status in ("finished sequentially", "exact")


@settings(max_examples=60, deadline=None)
@given(cases(torch.int64, "modulo"), st.integers(1, 3), st.data())
def test_a_limit_on_the_sweeps_costs_time_and_never_values(case: Case, most: int, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    results, solution = solve(case, max_sweeps=most, bounds=limits)
    assert_same(results, case.sequential(), **EXACT)
    assert solution.prefix == case.loop.length
    if limits == (0, case.loop.length) and solution.status == "finished sequentially":
        assert most <= solution.sweeps <= most + case.loop.length


class Prefixes(nn.Module):
    """A chain whose sweeps are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.sweeps: list[Tensor] = []

    def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
        new = torch.where(x > 5, x, torch.sin(3 * s) + x)
        self.sweeps.append(new)
        return (new,)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 6), min_size=1, max_size=12))
def test_steps_that_a_sweep_leaves_bitwise_unchanged_are_final(inputs: list[float]) -> None:
    body = Prefixes()
    loop = Loop(body, len(inputs), (LoopLag(0, 1),), stacked=(0,))
    x = torch.tensor(inputs, dtype=torch.float64)
    (result,) = jacobi(loop, ((x.new_zeros(()),),), (), (x,), (), 0.0, 0.0, None, (0, len(x)))
    iterates = [x.new_zeros(len(x)), *body.sweeps]
    for sweep, (old, new) in enumerate(pairwise(iterates), start=1):
        unchanged = int((old == new).long().cumprod(0).sum())
        final = max(min(sweep, len(x)), unchanged)
        assert torch.equal(new[:final], result[:final])


@settings(max_examples=20, deadline=None)
@given(cases(torch.float32, "tanh"))
def test_the_host_reads_the_device_once_a_sweep_and_once_more_where_nothing_changed(case: Case) -> None:
    with Reads() as reads, pytest.MonkeyPatch.context() as patch:
        transfer = Tensor.tolist
        patch.setattr(Tensor, "tolist", lambda self: reads.count() or transfer(self))
        _, solution = solve(case, atol=1e-6, rtol=1e-6)
    unknowns = bool(case.loop.lags or case.loop.buffer_specs)
    # Of every four sweeps whose changes shrink no more, `watch_floor` asks once whether these are rounding.
    most = solution.sweeps + 1 + solution.sweeps // 4
    assert solution.sweeps * unknowns <= reads.total <= most * unknowns


class Reads(TorchDispatchMode):
    """Counts the reads of device values by the host."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def count(self) -> None:
        self.total += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count()
        return func(*args, **(kwargs or {}))


class Half(nn.Module):
    def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
        return (s / 2 + x,)


def half(length: int) -> Case:
    x = torch.arange(length, dtype=torch.float64)
    return Case(
        Loop(Half(), length, (LoopLag(0, 1),), stacked=(0,)), ((torch.zeros((), dtype=x.dtype),),), (), (x,), ()
    )


def test_a_contraction_converges_in_as_many_sweeps_as_its_rate_needs() -> None:
    results, solution = solve(half(4096), atol=1e-6)
    assert solution.status == "converged"
    assert 30 <= solution.sweeps <= 34  # 4096 / 2**k <= 1e-6
    assert 0 < solution.change <= 1e-6
    assert solution.prefix == solution.sweeps
    assert_same(results, half(4096).sequential(), atol=2e-6, rtol=0.0)


def test_the_sweeps_of_all_windows_are_summed_and_a_window_starts_from_solved_values() -> None:
    results, solution = solve(half(8), bounds=(0, 1, 2, 3, 4, 5, 6, 7, 8))
    assert (solution.sweeps, solution.status, solution.method) == (8, "exact", "jacobi")
    assert_same(results, half(8).sequential(), **EXACT)


def test_two_interleaved_chains_have_half_the_depth() -> None:
    case = half(8)
    loop = Loop(Half(), 8, (LoopLag(0, 2),), stacked=(0,))
    case = Case(loop, ((torch.tensor(1.0).double(), torch.tensor(2.0).double()),), (), case.per_step, ())
    results, solution = solve(case)
    assert solution.sweeps == 4
    assert_same(results, case.sequential(), **EXACT)


def test_independent_steps_need_one_sweep() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x * x,)

    results, solution = solve(Case(Loop(Square(), 3, stacked=(0,)), (), (), (torch.arange(3),), ()))
    assert results[0].tolist() == [0, 1, 4]
    assert (solution.sweeps, solution.status) == (1, "exact")


def test_a_buffer_that_was_never_filled_does_not_stop_the_sweeps() -> None:
    class Fill(nn.Module):
        """o_t = 1 + the entry before t, and 1 at t = 0: whatever the other entries hold."""

        def forward(self, buffer: Tensor, t: Tensor) -> tuple[Tensor]:
            before = buffer[(t - 1).clamp(min=0)]
            return (1 + torch.where(t > 0, before, torch.zeros_like(before)),)

    case = Case(
        Loop(Fill(), 4, (), (Buffer(0, 0, (0, 1, 2, 3)),), stacked=(0,)),
        (),
        (torch.full((6,), math.nan),),
        (torch.arange(4),),
        (),
    )
    results, solution = solve(case)
    assert results[0].tolist() == [1, 2, 3, 4]
    assert results[1][:4].tolist() == [1, 2, 3, 4]
    assert results[1][4:].isnan().all()
    assert solution.status in ("exact", "finished sequentially")


def test_a_start_that_overflows_leaves_the_sequential_answer() -> None:
    class Ninth(nn.Module):
        """Step 0 forgets the large initial value; as a guess for every other step it overflows."""

        def forward(self, s: Tensor, x: Tensor, first: Tensor) -> tuple[Tensor]:
            return (torch.where(first, x, s**9 + x),)

    x, first = torch.full((6,), 0.5), torch.arange(6) == 0
    case = Case(Loop(Ninth(), 6, (LoopLag(0, 1),), stacked=(0,)), ((torch.tensor(1e5),),), (), (x, first), ())
    results, solution = solve(case, atol=1e-7)
    assert_same(results, case.sequential(), **EXACT)
    assert (solution.status, solution.sweeps) == ("finished sequentially", 2 + 5)
    assert math.isnan(solution.change)


def test_an_entry_that_is_not_written_yet_reads_as_it_was_also_in_a_step_run_alone() -> None:
    class Square(nn.Module):
        """The carried state is also what the buffer takes; an entry of infinity times 0 would be NaN."""

        def forward(self, s: Tensor, buffer: Tensor, mask: Tensor) -> tuple[Tensor]:
            return (s * s + (buffer * mask).sum(-1),)

    loop = Loop(Square(), 6, (LoopLag(0, 1),), (Buffer(0, 0, tuple(range(6))),), stacked=(0,))
    masks = torch.ones(6, 6).tril(-1)
    case = Case(loop, ((torch.tensor(1e8),),), (torch.ones(6),), (masks,), ())
    expected = case.sequential()
    assert expected[0][-1] == math.inf
    results, solution = solve(case)
    assert_same(results, expected, **EXACT)
    assert solution.status == "finished sequentially"


def test_an_output_that_two_buffers_take_keeps_their_other_entries_apart() -> None:
    class Twice(nn.Module):
        """Two buffers take one output; an entry of infinity in the second, times 0, would be NaN."""

        def forward(self, a: Tensor, b: Tensor, mask: Tensor) -> tuple[Tensor]:
            return (1 + (a * mask).sum(-1) ** 3 + (b * mask).sum(-1).clamp(max=9),)

    order = Buffer(0, 0, tuple(range(6)))
    loop = Loop(Twice(), 6, (), (order, order), stacked=(0,))
    start = (torch.full((6,), 1e9), torch.zeros(6))
    case = Case(loop, (), start, (torch.ones(6, 6).tril(-1),), ())
    results, solution = solve(case)
    assert solution.status == "finished sequentially"
    assert_same(results, case.sequential(), **EXACT)
    leaky = Case(loop, (), (torch.zeros(6), torch.full((6,), math.inf)), case.per_step, ())
    assert_same(solve(leaky)[0], leaky.sequential(), **EXACT)


def test_a_start_that_is_not_finite_can_still_converge() -> None:
    class Bounded(nn.Module):
        def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
            return (torch.tanh(s) / 2 + x,)

    x = torch.arange(64, dtype=torch.float64) / 64
    loop = Loop(Bounded(), 64, (LoopLag(0, 1),), stacked=(0,))
    case = Case(loop, ((torch.tensor(math.inf).double(),),), (), (x,), ())
    results, solution = solve(case, atol=1e-9)
    assert solution.status == "converged"
    assert_same(results, case.sequential(), atol=2e-9, rtol=0.0)


def test_the_last_value_does_not_keep_the_stack_alive() -> None:
    case = half(100)
    loop = Loop(Half(), 100, (LoopLag(0, 1),), last=(0,))
    (last,) = jacobi(loop, case.initial, (), case.per_step, (), 0.0, 0.0, None, range(0, 101, 25))
    assert last.untyped_storage().nbytes() == 8


@pytest.mark.parametrize("limits", [(), (0,), (0, 2), (1, 3), (0, 2, 2, 3), (0, 2, 1, 3), (0, 4)])
def test_windows_that_do_not_tile_the_loop_are_refused(limits: tuple[int, ...]) -> None:
    with pytest.raises(ScheduleError, match=r"the windows of loop have the limits .* must increase from 0 to 3"):
        jacobi(half(3).loop, half(3).initial, (), half(3).per_step, (), 0.0, 0.0, None, limits)


def test_no_sweep_at_all_is_refused() -> None:
    with pytest.raises(ScheduleError, match="loop has max_sweeps = 0; allow one sweep or more"):
        half(3).swept(max_sweeps=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex128, torch.bfloat16])
def test_other_types_of_state_are_solved(dtype: torch.dtype) -> None:
    class Flip(nn.Module):
        def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
            return (s != x,) if s.dtype == torch.bool else (s * x,)

    x = (torch.arange(9) % 3 == 1).to(dtype)
    case = Case(Loop(Flip(), 9, (LoopLag(0, 1),), stacked=(0,)), ((torch.ones((), dtype=dtype),),), (), (x,), ())
    assert_same(solve(case)[0], case.sequential(), **EXACT)


def test_an_empty_batch_is_solved() -> None:
    x = torch.empty(5, 0)
    case = Case(Loop(Half(), 5, (LoopLag(0, 1),), stacked=(0,)), ((torch.empty(0),),), (), (x,), ())
    results, solution = solve(case)
    assert results[0].shape == (5, 0)
    assert solution.status == "exact"


def test_some_random_loops_need_every_sweep_that_their_depth_allows() -> None:
    found = []

    @settings(max_examples=40, deadline=None, database=None)
    @given(cases(torch.int64, "modulo"))
    def collect(case: Case) -> None:
        found.append(case.depth > 3 and solve(case)[1].sweeps == case.depth)

    collect()
    assert any(found)
