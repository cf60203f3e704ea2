"""Jacobi sweeps over windows of a loop: whole Jacobi with one window, GS-Jacobi with several.

Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021
(arXiv 2002.03629), algorithms 1 and 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, State, Verdict, evaluate, judge
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.rounding import watch_floor
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Unknowns, Window, first_guess
from fxsolve.solvers.windows import Initial, receive, solve_windows


@dataclass(frozen=True)
class JacobiSolver(Method):
    """S <- F(S): A = 0 in the update; `guess` makes the start."""

    stop: Stop
    guess: Callable[[Window], Unknowns] = first_guess

    def init(self, window: Window) -> State:
        return evaluate(window, self.guess(window), self.stop, (), None)

    def step(self, state: State) -> State:
        return watch_floor(evaluate(state.window, state.values, self.stop, state.sizes, None), state.anchor, self.stop)

    def terminate(self, state: State) -> Verdict | None:
        return judge(state, self.stop)


@profiled
def jacobi(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    bounds: Sequence[int],
) -> Outputs:
    """Solve x_t = f(x_<t) by sweeping all steps of a window at once; each window is frozen before the next.

    `loop.body` takes lagged stacks (n, ...), whole buffers, per-step stacks (n, ...) and shared values, for any n,
    and returns stacks (n, ...). `bounds` = (0, b_1, ..., T) are the limits of the windows. A window that does not
    meet the test within `max_sweeps`, or meets a non-finite value, is finished step by step from its exact prefix.
    Raises `ScheduleError` if `bounds` do not increase from 0 to T.
    """
    method = JacobiSolver(Stop(atol, rtol, max_sweeps))
    equations = receive(loop, initial, buffers, per_step, shared, method.stop, batches_between(bounds))
    return solve_windows("jacobi", method, equations, bounds)
