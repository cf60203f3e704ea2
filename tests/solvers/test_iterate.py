"""The laws that hold for every method of the one loop, whatever it proposes."""

import math
from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.solvers.iterate import Method, State, Verdict, evaluate, final_steps, iterate, judge
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Given, Window, first_guess, open_window
from fxsolve.solvers.windows import start_of
from tests.solvers.cases import Case, cases


@dataclass(frozen=True)
class Guess(Method):
    """Proposes noise, scaled by `size`, for every step that is not known to be final."""

    stop: Stop
    size: float

    def init(self, window: Window) -> State:
        return evaluate(window, first_guess(window), self.stop, (), None)

    def step(self, state: State) -> State:
        final = final_steps(state)
        point = {number: self._propose(final, value) for number, value in state.values.items()}
        return evaluate(state.window, point, self.stop, state.sizes, state.values)

    def terminate(self, state: State) -> Verdict | None:
        return judge(state, self.stop)

    def _propose(self, final: Tensor, value: Tensor) -> Tensor:
        noise = (torch.randn(value.shape) * self.size).to(value.dtype)
        return torch.where(final.reshape(-1, *(1 for _ in value.shape[1:])), value, noise)


def window_of(case: Case) -> Window:
    return open_window(
        Given(case.loop, case.per_step, case.shared), start_of(case.initial, case.buffers), case.loop.length
    )


@settings(max_examples=50, deadline=None)
@given(cases(torch.int64, "modulo") | cases(torch.float32, "tanh", gain=2.0, buffers=False))
def test_any_proposal_is_exact_after_at_most_depth_sweeps(case: Case) -> None:
    solved = iterate(Guess(Stop(), 10.0), window_of(case))
    for number, stack in zip(case.loop.stacked, case.sequential(), strict=False):
        assert torch.equal(solved.outputs[number], stack)
    assert (solved.status, solved.final) == ("exact", case.loop.length)
    assert solved.sweeps <= case.depth


@settings(max_examples=50, deadline=None)
@given(
    cases(torch.float32, "square", gain=2.0, buffers=False),
    st.sampled_from([math.inf, math.nan, 1e30]),
    st.none() | st.integers(1, 3),
)
def test_any_proposal_at_all_ends_at_the_sequential_result(case: Case, size: float, most: int | None) -> None:
    solved = iterate(Guess(Stop(0.0, 0.0, most), size), window_of(case))
    for number, stack in zip(case.loop.stacked, case.sequential(), strict=False):
        torch.testing.assert_close(solved.outputs[number], stack, rtol=0.0, atol=0.0, equal_nan=True)
    assert solved.final == case.loop.length


@settings(max_examples=40, deadline=None)
@given(cases(torch.int64, "modulo"), st.integers(0, 12))
def test_steps_called_final_are_those_of_the_solution(case: Case, sweeps: int) -> None:
    method, window = Guess(Stop(), 5.0), window_of(case)
    state = method.init(window)
    for _ in range(sweeps):
        state = method.step(state)
    final = int(final_steps(state).sum())
    solved = iterate(method, window)
    assert final >= min(sweeps + 1, window.length)
    for value, wanted in zip(state.outputs, solved.outputs, strict=True):
        assert torch.equal(value[:final], wanted[:final])
