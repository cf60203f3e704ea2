"""What sweeps changed, step by step: the front of exact steps moves by one a sweep at least."""

import math

import pytest
import torch
from torch import nn

from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.sliding import sliding
from fxsolve.solvers.trace import MOST_STEPS, MOST_SWEEPS, Trace, traces


class Accumulate(nn.Module):
    """x_t = x_{t-1} + u_t: no step is right before the one in front of it is."""

    def forward(self, h: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor]:
        return (h + u,)


def traced(length: int, bounds: tuple[int, ...] | None = None, width: int | None = None) -> tuple[Trace, ...]:
    loop = Loop(Accumulate(), length, (LoopLag(0, 1),), (), stacked=(0,), last=(), name="sum")
    given = (((torch.zeros(2),),), (), (torch.ones(length, 2),), (), 0.0, 0.0, None)
    with traces() as found:
        for _ in range(2):
            if width is None:
                jacobi(loop, *given, bounds or (0, length))
            else:
                sliding(loop, *given, width)
    return tuple(found)


def test_nothing_is_noted_where_nobody_asks() -> None:
    with traces() as outer:
        pass
    assert outer == []


@pytest.mark.parametrize("length", [5, 40])
def test_each_sweep_moves_the_front_by_one_step(length: int) -> None:
    (trace,) = traced(length)
    assert (trace.loop, trace.length, trace.count) == ("sum", length, length)
    assert [sweep.front for sweep in trace.sweeps] == list(range(length))
    for sweep in trace.sweeps:
        assert (sweep.start, sweep.stop, len(sweep.changes)) == (0, length, length)
        assert [change == 0 for change in sweep.changes] == [step < sweep.front for step in range(length)]
        assert max(sweep.changes) == 1.0


def test_many_steps_and_sweeps_become_few_rows_evenly_spaced() -> None:
    (trace,) = traced(300)
    assert trace.count == 300
    assert len(trace.sweeps) <= MOST_SWEEPS
    assert {len(sweep.changes) for sweep in trace.sweeps} == {MOST_STEPS}
    assert [sweep.number for sweep in trace.sweeps] == list(range(1, 301, 8))


def test_windows_are_noted_where_they_lie() -> None:
    (trace,) = traced(12, bounds=(0, 4, 12))
    assert {(sweep.start, sweep.stop) for sweep in trace.sweeps} == {(0, 4), (4, 12)}
    (slid,) = traced(12, width=4)
    assert [sweep.start for sweep in slid.sweeps] == sorted(sweep.start for sweep in slid.sweeps)
    assert all(sweep.stop - sweep.start <= 4 for sweep in slid.sweeps)


def test_a_value_that_is_not_finite_is_infinite_in_a_trace() -> None:
    loop = Loop(Accumulate(), 4, (LoopLag(0, 1),), (), stacked=(0,), last=(), name="sum")
    steps = torch.tensor([1.0, math.nan, 1.0, 1.0]).reshape(4, 1)
    with traces() as found:
        jacobi(loop, ((torch.zeros(1),),), (), (steps,), (), 0.0, 0.0, None, (0, 4))
    assert found[0].sweeps[0].changes[0] == 1.0
    assert found[0].sweeps[0].changes[1] == math.inf
