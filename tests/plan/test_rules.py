"""The decision table, with the measured costs replaced by given ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Block, outputs_of
from fxsolve.plan import jacobians, rules
from fxsolve.plan.decision import Choice
from fxsolve.plan.method import Part, Steps, whole
from fxsolve.plan.methods import fused as fused_method
from fxsolve.plan.methods import jacobi as jacobi_method
from fxsolve.plan.methods import newton as newton_method
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.probe import ProbeRun, run_parts
from fxsolve.plan.rules import choose
from fxsolve.plan.trial import Situation
from fxsolve.solvers import fuse
from fxsolve.solvers.stop import Stop
from fxsolve.stages import capture, partition
from tests.loops import programs
from tests.loops.programs import B, N, Sample, numbers
from tests.plan.recurrences import Step, affine, diagonal, gru, loop_over, tanh_rnn, weights
from tests.plan.situations import situation

LONG = 300


def long_chain(x: Tensor) -> Tensor:
    """Contracts by 1/4 a step."""
    h, states = torch.zeros(B, N), []
    for x_t in x:
        h = torch.tanh(h * 0.25 + x_t)
        states.append(h)
    return torch.stack(states)


def diverging(x: Tensor) -> Tensor:
    for _ in range(LONG):
        x = torch.where(x.abs() < 2, x * x - 1.9, x)
    return x


chain = Sample("chain", long_chain, (numbers(LONG, B, N),), (LONG,))


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch):
    """Sets what a step, a sweep of n steps, a fused step, and one of all steps in order are measured to cost."""

    def set_costs(step: float, sweep: float, fused: float = 1.0, in_turn: float | None = None) -> None:
        def run(repeat, values, parts: tuple[Part, ...], *stop: Stop) -> ProbeRun:
            found = run_parts(repeat, values, parts, *stop)
            return replace(found, seconds=repeat.length * (in_turn or step)) if parts == (whole(repeat),) else found

        monkeypatch.setattr(rules, "run_parts", run)
        monkeypatch.setattr(rules, "step_seconds", lambda *_: step)
        monkeypatch.setattr(rules, "sweep_seconds", lambda window: sweep)
        monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda window: sweep)
        monkeypatch.setattr(fused_method, "fused_step_seconds", lambda *_: fused)
        monkeypatch.setattr(fuse, "compile_graph", lambda module, inputs: module)

    return set_costs


def test_cheap_sweeps_are_chosen_with_a_bound_on_their_number(cost) -> None:
    cost(step=1e-5, sweep=3e-5)
    choice, run = choose(situation(chain))
    (part,) = choice.parts
    assert isinstance(part, Jacobi)
    assert part.child == Steps("loop0", 0, LONG)
    assert choice.sweeps is not None
    # As many sweeps as cost one run in order: 300 * 1e-5 / 3e-5.
    assert part.stop == Stop(rtol=1e-6, max_sweeps=100)
    assert choice.sweeps < 30
    assert choice.chosen.seconds == pytest.approx(choice.sweeps * 3e-5)
    assert run.sweeps == choice.sweeps
    assert choice.rejected[0].schedule == f"loop0[0:{LONG}]"


def test_sweeps_that_may_take_every_step_need_no_bound(cost) -> None:
    cost(step=1e-5, sweep=1e-5)
    choice, _ = choose(situation(chain))
    assert choice.parts == (Jacobi(Steps("loop0", 0, LONG)),)


def test_sweeps_that_cost_more_than_the_steps_are_rejected(cost) -> None:
    cost(step=1e-5, sweep=1e-3)
    choice, run = choose(situation(chain))
    assert choice.parts == (Steps("loop0", 0, LONG),)
    assert run.sweeps == LONG
    assert any("sweeps did not converge" in candidate.reason for candidate in choice.rejected)


def test_a_gain_below_the_margin_is_not_taken(cost) -> None:
    here = situation(chain)
    cost(step=1e-5, sweep=1e-6)
    choice, _ = choose(here)
    assert choice.sweeps is not None
    in_order = LONG * 1e-5
    cost(step=1e-5, sweep=in_order / choice.sweeps / (0.99 * rules.MARGIN))
    rejected, _ = choose(here)
    assert rejected.parts == (Steps("loop0", 0, LONG),)
    cost(step=1e-5, sweep=in_order / choice.sweeps / (1.01 * rules.MARGIN))
    taken, _ = choose(here)
    assert all(isinstance(part, Jacobi) for part in taken.parts)


def test_windows_are_taken_where_they_make_a_sweep_cheaper(cost, monkeypatch: pytest.MonkeyPatch) -> None:
    cost(step=1e-5, sweep=0.0)
    # A sweep costs in proportion to the square of its steps.
    monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda window: 1e-9 * window.length**2)
    choice, run = choose(situation(chain))
    assert [part.child for part in choice.parts if isinstance(part, Jacobi)] == [
        Steps("loop0", low, min(low + 64, LONG)) for low in range(0, LONG, 64)
    ]
    torch.testing.assert_close(next(iter(run.results.values())), chain.captured().example.outputs[0])


def test_a_loop_that_does_not_converge_in_time_runs_in_order(cost) -> None:
    cost(step=1e-5, sweep=5e-5)
    sample = Sample("diverging", diverging, (numbers(B, N),), (LONG,))
    program = sample.captured()
    assert partition(program).system.repeats
    choice, _ = choose(situation(sample))
    assert choice.parts in ((FixedPoint(Steps("loop0", 0, LONG)),), (Steps("loop0", 0, LONG),))


@pytest.mark.parametrize(("margin", "asks"), [(1e9, True), (0.0, False)])
def test_a_loop_that_needs_each_step_asks_whether_it_settled_where_that_is_free(
    cost, monkeypatch: pytest.MonkeyPatch, margin: float, asks: bool
) -> None:
    cost(step=1e-5, sweep=1e-9)
    monkeypatch.setattr(rules, "MARGIN", margin)
    choice, _ = choose(situation(programs.fixed_point_loop))
    steps = Steps("loop0", 0, programs.T)
    assert choice.parts == ((FixedPoint(steps) if asks else steps),)
    assert choice.chosen.reason == "every step is the same map, and each of the steps was needed"
    assert [one.schedule for one in choice.rejected if one.backend == "eager"] == [str(FixedPoint(steps))] * (not asks)


def settling(x: Tensor) -> Tensor:
    for _ in range(60):
        x = torch.floor(x * 0.5)
    return x


@pytest.mark.parametrize(("step", "stops"), [(1.0, True), (0.0, False)])
def test_a_loop_that_settles_stops_there_where_asking_costs_less_than_the_steps_behind(
    cost, monkeypatch: pytest.MonkeyPatch, step: float, stops: bool
) -> None:
    cost(step=step, sweep=1e-9)
    monkeypatch.setattr(rules, "MARGIN", 0.0)
    choice, run = choose(situation(Sample("settling", settling, (2.0**50 * numbers(B, N).abs(),), (60,))))
    steps = Steps("loop0", 0, 60)
    assert choice.parts == ((FixedPoint(steps) if stops else steps),)
    assert (choice.sweeps, choice.step_seconds) == (run.sweeps if stops else None, step)
    assert ("54 of the 60 steps were needed" in choice.chosen.reason) == (not stops), choice.chosen.reason


def test_steps_that_read_no_other_are_one_sweep(cost) -> None:
    cost(step=1e-5, sweep=2e-5)
    choice, _ = choose(situation(programs.gru, "loop0_inputs"))
    assert choice.parts == (Jacobi(Steps("loop0_inputs", 0, programs.T)),)
    assert choice.sweeps == 1
    assert choice.chosen.reason == "no step reads another: one sweep"


def test_a_sweep_of_independent_steps_that_costs_more_than_they_do_is_rejected(cost) -> None:
    cost(step=1e-5, sweep=1e-3)
    choice, _ = choose(situation(programs.gru, "loop0_inputs"))
    assert choice.parts == (Steps("loop0_inputs", 0, programs.T),)


def test_a_buffer_whose_order_of_reads_is_not_proved_is_not_swept(cost) -> None:
    cost(step=1e-5, sweep=1e-9)
    choice, _ = choose(situation(programs.columns_written))
    assert choice.parts == (Steps("loop0", 0, programs.T),)
    assert choice.causal.startswith("not shown: step 3 may read what step 6 writes, through ")
    assert any("causality not shown" in candidate.reason for candidate in choice.rejected)


def test_a_body_that_cannot_be_batched_runs_in_order(cost, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PartitionError("loop0 cannot be batched: no rule for this op")

    cost(step=1e-5, sweep=1e-9)
    monkeypatch.setattr(jacobi_method, "first_window", refuse)
    choice, _ = choose(situation(chain))
    assert choice.parts == (Steps("loop0", 0, LONG),)
    assert any("no rule for this op" in candidate.reason for candidate in choice.rejected)


def test_sweeps_that_raise_an_error_of_values_on_the_way_are_ruled_out(cost, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_: object) -> float:
        raise IndexError("index out of range in self")

    cost(step=1e-5, sweep=1e-9)
    monkeypatch.setattr(jacobi_method, "sweep_seconds", raising)
    choice, _ = choose(situation(chain))
    assert choice.parts == (Steps("loop0", 0, LONG),)
    assert any("a sweep raised IndexError: index out of" in candidate.reason for candidate in choice.rejected)


def test_sweeps_that_hold_too_much_memory_are_not_tried(cost, monkeypatch: pytest.MonkeyPatch) -> None:
    cost(step=1e-5, sweep=1e-9)
    monkeypatch.setattr(jacobi_method, "SWEEP_BYTES", 100 * B * N * 4 * 3)
    choice, _ = choose(situation(chain))
    lengths = {part.child.stop - part.child.start for part in choice.parts if isinstance(part, Jacobi)}
    assert max(lengths) == 64


WHOLE = Steps("loop0", 0, LONG)


FUSED = Fused(WHOLE, 11)  # which leaves three of the steps uncompiled, where twelve in a call leave twelve


@pytest.mark.parametrize(("backend", "expected"), [("inductor", FUSED), ("eager", WHOLE)])
def test_fused_steps_are_chosen_where_they_are_cheapest_and_allowed(cost, backend: str, expected: Part) -> None:
    cost(step=5e-5, sweep=1.0, fused=1e-5)
    choice, _ = choose(situation(chain, backend=backend))
    assert choice.parts == (expected,)


@pytest.mark.parametrize(("in_turn", "expected"), [(5.9e-5, FUSED), (5.4e-5, WHOLE)])
def test_what_is_slower_than_one_step_over_and_over_is_compared_with_all_steps(
    cost, in_turn: float, expected: Part
) -> None:
    cost(step=3e-5, sweep=1.0, fused=5e-5, in_turn=in_turn)
    choice, _ = choose(situation(chain, backend="inductor"))
    assert choice.parts == (expected,)
    steps = next(one for one in (choice.chosen, *choice.rejected) if one.schedule == str(WHOLE))
    assert (steps.basis, steps.seconds) == ("measured", pytest.approx(LONG * in_turn))


def test_a_failure_of_the_compiler_is_told_and_the_loop_runs_in_order(cost, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise RuntimeError("no C++ compiler\nsecond line")

    cost(step=5e-5, sweep=1.0)
    monkeypatch.setattr(fused_method, "fused_step_seconds", fail)
    choice, _ = choose(situation(chain, backend="inductor"))
    assert choice.parts == (WHOLE,)
    assert any(candidate.reason == "inductor failed: no C++ compiler" for candidate in choice.rejected)


def rejected(choice: Choice, method: str) -> str:
    """Why a method was not taken."""
    (reason,) = (one.reason for one in choice.rejected if one.schedule.startswith(method))
    return reason


def recurrent(step: Step, length: int = LONG, size: int = N) -> Situation:
    inputs = numbers(length, B, size), *weights(torch.float32, size)
    return situation(Sample("recurrent", loop_over(step), inputs, (length,)))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that cost a second each, and sweeps that cost all of them."""
    monkeypatch.setattr(rules, "step_seconds", lambda *_: 1.0)
    monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda window: window.length * 0.45)


def test_an_affine_step_of_small_blocks_is_scanned(slow: None) -> None:
    for step in (diagonal, affine):
        choice, run = choose(recurrent(step))
        assert choice.parts == (Scan(Steps("loop0", 0, LONG)),)
        assert choice.chosen.reason.startswith("a step is affine: one scan at the cost of")
        assert run.sweeps <= 3


def test_a_step_that_is_not_affine_is_solved_by_newton(slow: None) -> None:
    choice, run = choose(recurrent(gru))
    assert choice.parts == (Newton(Steps("loop0", 0, LONG)),)
    assert choice.sweeps == run.sweeps < 12
    assert "Newton steps, each at the cost of" in choice.chosen.reason


def test_newton_steps_are_bounded_by_the_cost_of_running_in_order(slow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newton_method, "least_seconds", lambda run: 20.0)
    (part,) = choose(recurrent(gru))[0].parts
    assert isinstance(part, Newton)
    assert part.stop == Stop(rtol=1e-6, max_sweeps=LONG // 20)
    monkeypatch.setattr(newton_method, "least_seconds", lambda run: 100.0)
    choice, _ = choose(recurrent(gru))
    assert rejected(choice, "newton") == "a Newton step costs 100 steps, and 3 of them did not converge"


def test_jacobians_that_hold_too_much_memory_come_in_windows(slow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobians, "JACOBIAN_BYTES", LONG * B * N * N * 8 // 3)
    choice, _ = choose(recurrent(gru))
    assert str(choice.chosen.schedule) == f"gs(newton(loop0[0:{LONG}:100]))"
    choice, _ = choose(recurrent(affine))
    assert "the Jacobians of all steps hold more than" in rejected(choice, "scan")


def test_what_speaks_against_the_jacobian_is_asked_before_it_is_traced(
    slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("traced")

    monkeypatch.setattr(jacobians, "linearize", refuse)
    wide, _ = choose(recurrent(tanh_rnn, size=17))
    assert rejected(wide, "newton") == "17 entries of the state depend on one another, more than 16"
    monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda window: float(window.length))
    slowly, _ = choose(recurrent(affine))
    assert rejected(slowly, "scan") == "two sweeps alone cost more than all steps in order"
    monkeypatch.setattr(rules, "step_seconds", lambda *_: 1e-6)
    briefly, _ = choose(recurrent(gru))
    assert rejected(briefly, "newton") == "in order, the loop takes less than 5 ms"
    monkeypatch.setattr(rules, "step_seconds", lambda *_: 1.0)
    apart, _ = choose(situation(programs.every_second))
    assert "steps back" in rejected(apart, "newton")


def test_one_scan_is_measured_in_shorter_loops_than_many_sweeps(slow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda _: 1e-5)
    for seconds, traced in ((1e-3, True), (1e-4, False)):
        monkeypatch.setattr(rules, "step_seconds", lambda *_, each=seconds / LONG: each)
        choice, _ = choose(recurrent(affine))
        scans = [one for one in (choice.chosen, *choice.rejected) if one.schedule.startswith("scan")]
        assert [one.seconds is not None for one in scans] == [traced]


def test_a_map_whose_products_overflow_is_not_scanned(slow: None) -> None:
    choice, _ = choose(recurrent(lambda h, x, w, u: h * 1.5 - x))
    assert rejected(choice, "scan") == f"the products of {LONG} maps are not within rounding of the steps"


def test_the_solved_values_are_the_ones_that_later_equations_read(cost) -> None:
    for step, sweep in ((1e-5, 1e-6), (1e-5, 1.0)):
        cost(step=step, sweep=sweep)
        here = situation(chain)
        _, run = choose(here)
        (name,) = outputs_of(here.repeat)
        torch.testing.assert_close(run.results[name], chain.captured().example.outputs[0])


def test_blocks_are_no_repeats() -> None:
    """The helper of these tests evaluates what precedes the repeat, blocks among it."""
    program = capture(long_chain, numbers(LONG, B, N))
    assert any(isinstance(equation, Block) for equation in partition(program).system.equations)
