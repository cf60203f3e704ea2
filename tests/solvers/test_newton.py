import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.solvers.layout import Layout
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.newton import NewtonSolver, newton, stalled
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Given, open_window
from fxsolve.solvers.windows import start_of
from tests.solvers.cases import bounds
from tests.solvers.cells import Cell, CellChain, Linear, cell_chains, make_chain

EXACT = {"rtol": 0.0, "atol": 0.0, "equal_nan": True}
CELLS = ("tanh", "diagonal", "gru", "lstm", "affine")


def assert_same(results: tuple[Tensor, ...], expected: tuple[Tensor, ...], **tolerance: object) -> None:
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, **tolerance)


@settings(max_examples=25, deadline=None)
@given(cell_chains(torch.float32, CELLS) | cell_chains(torch.float64, CELLS), st.booleans())
def test_without_tolerance_no_bit_differs_from_the_sequential_run_however_chaotic(
    chain: CellChain, diagonal: bool
) -> None:
    results, solution = chain.newton(diagonal=diagonal)
    assert_same(results, chain.sequential(), **EXACT)
    assert solution.status in ("exact", "finished sequentially")
    assert (solution.method, solution.prefix) == ("newton", len(chain.x))
    if solution.status == "exact":
        assert solution.sweeps <= len(chain.x)


@settings(max_examples=20, deadline=None)
@given(cell_chains(torch.float32, CELLS, most=10) | cell_chains(torch.float64, CELLS, most=10), st.booleans())
def test_one_more_step_is_bitwise_exact_after_every_sweep(chain: CellChain, diagonal: bool) -> None:
    initial, buffers, per_step, shared = chain.arguments
    method = NewtonSolver(chain.linear(diagonal), chain.layout, (None,) * chain.carries, Stop())
    window = open_window(Given(chain.loop, per_step, shared), start_of(initial, buffers), len(chain.x))
    expected = chain.sequential()
    state = method.init(window)
    for count in range(1, len(chain.x) + 1):
        for result, wanted in zip(state.outputs, expected, strict=True):
            assert torch.equal(result[:count], wanted[:count])
        state = method.step(state)


class Rough(Linear):
    """Rounds otherwise than the body, and has no Jacobian where the solution is known."""

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        *outputs, jacobian = super().forward(*reads)
        jacobian = jacobian.clone()
        jacobian[0] = math.nan
        return (*(output * (1 + 1e-6) for output in outputs), jacobian)


@settings(max_examples=20, deadline=None)
@given(cell_chains(torch.float32, CELLS, most=10), st.booleans())
def test_steps_that_are_final_stay_so_whatever_the_linear_module_and_the_box_say(
    chain: CellChain, diagonal: bool
) -> None:
    initial, buffers, per_step, shared = chain.arguments
    linear = Rough(Cell(chain.kind), chain.layout, diagonal)
    method = NewtonSolver(linear, chain.layout, ((-0.01, 0.01),) * chain.carries, Stop())
    window = open_window(Given(chain.loop, per_step, shared), start_of(initial, buffers), len(chain.x))
    expected = chain.sequential()
    state = method.init(window)
    for count in range(1, len(chain.x) + 1):
        for result, wanted in zip(state.outputs, expected, strict=True):
            assert torch.equal(result[:count], wanted[:count])
        state = method.step(state)


def test_a_correction_that_overflows_starts_again_from_a_sweep() -> None:
    """tanh(4 s + 0.01) from 0 has a slope of 4 at the start, 4^400 in all, and next to none at its solution."""
    weight = torch.full((1, 1), 4.0)
    chain = CellChain("tanh", (torch.zeros(1, 1),), torch.full((400, 1, 1), 0.01), weight)
    results, solution = chain.newton(1e-6, 1e-6)
    assert solution.status in ("converged", "exact")
    assert solution.sweeps < 20
    assert_same(results, chain.sequential(), atol=1e-5, rtol=0.0)


@settings(max_examples=25, deadline=None)
@given(cell_chains(torch.float64, CELLS, gains=(0.5, 0.9)), st.sampled_from([1e-10, 1e-5]), st.booleans(), st.data())
def test_a_run_that_converged_is_within_the_tolerance(
    chain: CellChain, atol: float, diagonal: bool, data: st.DataObject
) -> None:
    limits = data.draw(bounds(len(chain.x)))
    results, solution = chain.newton(atol=atol, bounds=limits, diagonal=diagonal)
    assert_same(results, chain.sequential(), atol=20 * atol * len(limits), rtol=0.0)
    assert solution.change <= atol or solution.status != "converged"


@settings(max_examples=20, deadline=None)
@given(cell_chains(torch.float32, ("tanh", "gru"), gains=(2.0,), most=40))
def test_the_end_in_order_gives_the_sequential_bits_of_a_chaotic_chain(chain: CellChain) -> None:
    results, solution = chain.newton(atol=1e-6, rtol=1e-6)
    if solution.status == "converged":
        assert_same(results, chain.sequential(), atol=1e-3, rtol=0.0)
    else:
        assert_same(results, chain.sequential(), **EXACT)


@settings(max_examples=20, deadline=None)
@given(cell_chains(torch.float64, ("square",), gains=(1.0, 4.0), most=12), st.booleans())
def test_overflow_comes_out_as_in_the_sequential_run(chain: CellChain, diagonal: bool) -> None:
    results, _ = chain.newton(diagonal=diagonal)
    assert_same(results, chain.sequential(), **EXACT)
    results, _ = chain.newton(atol=1e-9, rtol=1e-9, diagonal=diagonal)
    assert_same(results, chain.sequential(), atol=1e-6, rtol=1e-6, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(cell_chains(torch.float64, CELLS, most=10), st.integers(0, 9), st.sampled_from([math.nan, math.inf]))
def test_a_non_finite_input_comes_out_as_in_the_sequential_run(chain: CellChain, at: int, bad: float) -> None:
    chain.x[at % len(chain.x)] = bad
    results, _ = chain.newton(atol=1e-12, rtol=1e-12)
    assert_same(results, chain.sequential(), atol=1e-8, rtol=1e-8, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(cell_chains(torch.float64, ("tanh", "lstm", "gru")), st.integers(1, 4))
def test_a_limit_on_the_steps_costs_time_and_never_values(chain: CellChain, most: int) -> None:
    results, solution = chain.newton(max_steps=most)
    assert_same(results, chain.sequential(), **EXACT)
    assert solution.sweeps <= most + len(chain.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "gain", "most"),
    [("gru", 0.6, 10), ("gru", 0.9, 10), ("diagonal", 0.9, 10), ("tanh", 0.9, 10), ("tanh", 1.2, 14)],
)
def test_few_steps_solve_a_long_chain(kind: str, gain: float, most: int, dtype: torch.dtype) -> None:
    """DEER reports 3 to 10 Newton steps for GRUs (Lim et al. 2024)."""
    chain = make_chain(kind, gain, dtype, length=512, batch=1, size=8, seed=0)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    results, solution = chain.newton(tolerance, tolerance)
    assert solution.status == "converged"
    assert 3 <= solution.sweeps <= most
    assert_same(results, chain.sequential(), atol=1e3 * tolerance, rtol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_diagonal_alone_solves_a_gru_in_more_steps(dtype: torch.dtype) -> None:
    """9 to 41 for GRUs (Gonzalez et al. 2024)."""
    chain = make_chain("gru", 0.6, dtype, length=512, batch=1, size=8, seed=1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    results, solution = chain.newton(tolerance, tolerance, diagonal=True)
    assert solution.status == "converged"
    assert chain.newton(tolerance, tolerance)[1].sweeps < solution.sweeps <= 41
    assert_same(results, chain.sequential(), atol=100 * tolerance, rtol=0.0)


def test_the_range_of_the_states_saves_steps() -> None:
    chain = make_chain("tanh", 1.6, torch.float64, length=512, batch=1, size=16, seed=3)
    free, bounded = chain.newton(1e-10), chain.newton(1e-10, box=((-1.0, 1.0),))
    assert bounded[1].status == "converged"
    assert bounded[1].sweeps <= free[1].sweeps
    assert_same(bounded[0], chain.sequential(), atol=1e-8, rtol=0.0)


def test_a_box_that_does_not_hold_the_states_costs_time_and_never_values() -> None:
    chain = make_chain("gru", 0.9, torch.float32, length=100, batch=1, size=3, seed=0)
    results, solution = chain.newton(1e-6, 1e-6, box=((-0.01, 0.01),))
    assert solution.status == "finished sequentially"
    assert_same(results, chain.sequential(), **EXACT)


def test_an_affine_chain_takes_one_newton_step_and_one_to_see_it() -> None:
    chain = make_chain("affine", 0.7, torch.float64, length=300, batch=2, size=3, seed=0)
    results, solution = chain.newton(1e-12, 1e-12)
    assert (solution.status, solution.sweeps) == ("converged", 3)
    assert_same(results, chain.sequential(), atol=1e-12, rtol=1e-12)


def test_a_chain_that_does_not_shrink_is_given_up_early() -> None:
    chain = make_chain("tanh", 4.0, torch.float32, length=400, batch=1, size=16, seed=0)
    results, solution = chain.newton(1e-6, 1e-6, box=((-1.0, 1.0),))
    assert solution.status == "finished sequentially"
    assert solution.sweeps < 400 + 40
    assert_same(results, chain.sequential(), **EXACT)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((9, 5, 4, 3, 2, 1), False), ((1, 5, 5, 5, 5), True), ((1, 5, 6, 7), False), ((1, 8, 9, 9, 7), False)],
)
def test_three_changes_that_set_no_new_low_are_a_stall(sizes: tuple[float, ...], expected: bool) -> None:
    assert stalled(sizes) == expected


def test_independent_dimensions_may_lie_anywhere() -> None:
    """States (n, B): the batch is the second dimension, and first in packed coordinates."""

    class Turned(Cell):
        def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
            *lagged, x, w = reads
            total, *carried = super().forward(*(value.transpose(-1, -2) for value in (*lagged, x)), w)
            return (total, *(value.transpose(-1, -2) for value in carried))

    chain = make_chain("lstm", 0.9, torch.float64, length=60, batch=3, size=2, seed=0)
    layout = Layout((1, 2), ((2, 3), (2, 3)), (3,), ((1, 0), (1, 0)))
    body = Turned("lstm")
    loop = Loop(body, 60, (LoopLag(1, 1), LoopLag(2, 1)), stacked=(1, 2))
    initial = tuple((value.mT.contiguous(),) for value in chain.initial)
    per_step, linear = (chain.x.mT.contiguous(),), Linear(body, layout)
    results = newton(loop, linear, layout, initial, (), per_step, (chain.w,), 1e-12, 0.0, None, (0, 60))
    assert_same(tuple(value.mT for value in results), chain.sequential()[1:], atol=1e-10, rtol=0.0)


def test_an_empty_batch_is_solved() -> None:
    chain = make_chain("gru", 0.9, torch.float32, length=5, batch=0, size=3, seed=0)
    results, solution = chain.newton()
    assert results[1].shape == (5, 0, 3)
    assert solution.status == "exact"


@pytest.mark.parametrize(
    ("lags", "buffers", "message"),
    [
        (
            (LoopLag(1, 2),),
            (),
            "holds the outputs .1,., each read one step back, but loop reads output 1 2 back",
        ),
        ((), (), "but loop reads no step"),
        ((LoopLag(1, 1),), (Buffer(1, 0, (0, 1, 2)),), "but loop reads output 1 1 back and buffers"),
    ],
)
def test_a_layout_of_another_loop_is_refused(
    lags: tuple[LoopLag, ...], buffers: tuple[Buffer, ...], message: str
) -> None:
    chain = make_chain("tanh", 0.9, torch.float32, length=3, batch=1, size=2, seed=0)
    loop = Loop(Cell("tanh"), 3, lags, buffers, stacked=(1,))
    with pytest.raises(ScheduleError, match=message):
        newton(loop, chain.linear(), chain.layout, *chain.arguments, 0.0, 0.0, None, (0, 3))
