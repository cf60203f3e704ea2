"""Compiled steps: when they are tried, and how they are measured."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fxsolve.lower.arguments import Values
from fxsolve.plan.budget import BUDGET_SECONDS, Budget
from fxsolve.plan.method import Steps
from fxsolve.plan.methods import fused as fused_method
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.trial import Situation
from tests.loops.programs import Sample, numbers
from tests.plan.situations import situation

LENGTH, STEP = 300, 4e-5
TOTAL = LENGTH * STEP


def chain(x: Tensor) -> Tensor:
    h = torch.zeros(2, 3)
    for x_t in x:
        h = torch.tanh(h * 0.25 + x_t)
    return h


@pytest.fixture
def here() -> Situation:
    return situation(Sample("chain", chain, (numbers(LENGTH, 2, 3),), (LENGTH,)), backend="inductor")


def measured(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[Values]:
    """Has the compiled step measured at these times, one after the other; returns the values that it was given."""
    left, seen = list(seconds), []

    def measure(repeat, values: Values, unroll: int) -> float:
        seen.append(values)
        return left.pop(0)

    monkeypatch.setattr(fused_method, "fused_step_seconds", measure)
    return seen


def test_a_measurement_that_was_disturbed_is_made_again(here: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, 1.0, 1e-5, 2.0)
    (trial,) = fused_method.try_fused(here, STEP, TOTAL, TOTAL)
    assert trial.seconds < TOTAL / 3


def test_steps_before_the_first_compiled_call_cost_what_they_cost(
    here: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, *[1e-5] * 3)
    (trial,) = fused_method.try_fused(here, STEP, TOTAL, TOTAL)
    (part,) = trial.parts
    assert isinstance(part, Fused)
    first = (LENGTH - 1) % part.unroll + 1
    assert trial.seconds == pytest.approx(first * STEP + (LENGTH - first) * 1e-5)


def test_a_loop_for_which_no_time_is_left_is_not_compiled(here: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not measured(monkeypatch)
    budget = Budget(seconds=BUDGET_SECONDS)
    here = replace(here, purse=budget)
    (trial,) = fused_method.try_fused(here, STEP, TOTAL, TOTAL)
    assert trial.sweeps is None
    assert trial.candidate.reason == "other loops take all the time there is for compiling"
    assert budget.left_out == [here.repeat.name]


def test_a_loop_inside_of_another_is_measured_on_values_without_gaps(
    here: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is emitted for these, so what was compiled for measuring is what runs."""
    named = {name: value.mT.contiguous().mT for name, value in here.values.named.items() if value.dim() > 1}
    seen = measured(monkeypatch, *[1e-5] * 3)
    inside = Situation(here.repeat, Values(named), [], here.stop, "inductor", solves=4)
    assert fused_method.try_fused(inside, STEP, TOTAL, TOTAL)
    assert not all(value.is_contiguous() for value in named.values())
    assert all(value.is_contiguous() for values in seen for value in values.named.values())


def test_equal_loops_take_equally_many_steps_into_a_call(here: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, *[1e-5] * 6)
    monkeypatch.setattr(fused_method, "most_ops", lambda saved, runs: 8 if saved == TOTAL else 1000)
    found = [fused_method.try_fused(here, STEP, total, total)[0] for total in (TOTAL, 2 * TOTAL)]
    assert [trial.parts for trial in found] == [(Fused(Steps("loop0", 0, LENGTH), 2),)] * 2
