"""Runs whose steps are sweeps of equal calls: the longer period under which every read follows a rule."""

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.calls import dead_views
from fxsolve.loops.rolling.longer import longer_runs
from fxsolve.loops.rolling.roll import MIN_TRIPS, roll_run
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.stages import capture
from fxsolve.structure.periods import PeriodicRun, find_runs
from tests.loops import small

SWEEPS = 6


def sweep(u: list[Tensor], width: int, sweeps: int) -> None:
    for _ in range(sweeps):
        for k in range(1, width):
            u[k] = torch.tanh(u[k] * 0.5 + u[k - 1])


def swept(width: int, sweeps: int = SWEEPS) -> object:
    """Each entry of a list reads its left neighbour in this sweep, and the one that it replaces."""

    def program(x: Tensor) -> Tensor:
        u = list(x.unbind())
        sweep(u, width, sweeps)
        return torch.stack(u)

    return program


def one_run(program: object, x: Tensor) -> tuple[Calls, PeriodicRun]:
    graph: fx.Graph = capture(program, x).module.graph  # pyright: ignore[reportArgumentType]
    calls = read_calls(graph, dead_views(graph))
    return calls, max(find_runs(calls.labels, 3, 6), key=lambda run: run.stop - run.start)


@pytest.mark.parametrize("width", [3, 5, 8])
def test_sweeps_over_a_list_are_the_steps_of_the_longer_run(width: int) -> None:
    calls, run = one_run(swept(width), small.numbers(width, 2))
    assert roll_run(calls, run) is None
    (longer,) = longer_runs(calls, run, MIN_TRIPS)
    assert longer.period == (width - 1) * run.period
    assert longer.trips in (SWEEPS - 1, SWEEPS)  # the first sweep reads what lies in front of it
    assert run.start <= longer.start < longer.stop <= run.stop
    loop = roll_run(calls, longer)
    assert loop is not None
    assert loop.window.trips >= SWEEPS - 1


def test_a_part_that_is_too_short_is_no_run() -> None:
    calls, run = one_run(swept(4, sweeps=3), small.numbers(4, 2))
    assert [longer.trips for longer in longer_runs(calls, run, 3)] in ([], [3])
    assert list(longer_runs(calls, run, 4)) == []


def test_two_lists_that_are_swept_one_behind_the_other_are_two_runs() -> None:
    def program(x: Tensor) -> Tensor:
        one, two = list(x.unbind()), list(x.unbind())
        sweep(one, 4, SWEEPS)
        sweep(two, 4, SWEEPS)
        return torch.stack(one + two)

    calls, run = one_run(program, small.numbers(4, 2))
    first, second = longer_runs(calls, run, MIN_TRIPS)
    assert first.stop <= second.start
    assert first.period == second.period == 3 * run.period


def test_reads_that_follow_no_rule_have_no_longer_run() -> None:
    def program(x: Tensor) -> Tensor:
        states = [x[0]]
        for t in range(24):
            states.append(torch.tanh(states[-1] * 0.5 + states[t * t % 11 % (t + 1)]))
        return states[-1]

    calls, run = one_run(program, small.numbers(1, 2))
    assert list(longer_runs(calls, run, MIN_TRIPS)) == []
