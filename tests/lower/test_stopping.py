"""Loops that stop on a value, and those along them, as calls of their solvers: the same as the reference evaluator."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fxsolve.ir.evaluate import run_repeat
from fxsolve.ir.spec import AllSteps, Count, LastStep
from fxsolve.lower.arguments import Values
from fxsolve.lower.lower import results_of
from fxsolve.lower.stopping import stopping
from fxsolve.solvers.trips import TripsError, trying
from tests.ir.test_until import STOPS, back, halving


def solved(repeat, values: dict[str, Tensor]) -> dict[str, object]:
    with trying():
        found = stopping(repeat).solve(Values(values))
    return {name: found[position] for name, position in results_of(repeat).items()}


@pytest.mark.parametrize("start", [0.5, 1.0, 5.0, 1e6])
def test_it_stops_where_the_evaluator_does(start: float) -> None:
    (repeat,) = halving(STOPS).repeats
    counting = replace(repeat, writes=(*repeat.writes, Count("n", 1, 10, -2)))
    x, bound = torch.tensor(start), torch.tensor(1.0)
    values = {"x": x, "bound": bound, "done": x < bound}
    assert solved(counting, values) == run_repeat(counting, values)


@pytest.mark.parametrize("steps", [1, 2, 9, 15])
def test_a_loop_along_it_takes_its_stack_from_the_end(steps: int) -> None:
    loop, along = back().repeats
    values = {"x": torch.tensor(0.75 * 2**steps), "bound": torch.tensor(1.0), "zero": torch.tensor(0.0)}
    assert loop.writes == (AllSteps("all", 0),)
    values |= run_repeat(loop, values)
    assert along.writes == (LastStep("sum", 0),)
    assert solved(along, values) == run_repeat(along, values)


def test_a_number_of_steps_that_nothing_has_shown_is_not_taken() -> None:
    (repeat,) = halving(STOPS).repeats
    values = {"x": torch.tensor(1e6), "bound": torch.tensor(1.0), "done": torch.tensor(False)}
    with pytest.raises(TripsError, match="halve takes more steps than the 2 to 9 that are known"):
        stopping(repeat).solve(Values(values))
