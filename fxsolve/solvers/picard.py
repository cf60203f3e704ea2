"""Picard iteration: sums of the residuals of all steps before, as for s_t = s_{t-1} + g(s_{t-1}).

Shih et al., "Parallel sampling of diffusion models" (ParaDiGMS), NeurIPS 2023 (arXiv 2305.16317), section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, State, Verdict, evaluate, final_steps, judge
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.norms import has_size
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.rounding import watch_floor
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Window, first_guess
from fxsolve.solvers.windows import Initial, receive, solve_windows


@dataclass(frozen=True)
class PicardSolver(Method):
    """P <- P + cumsum(F(P) - P): A = I in the update, the iterate is the point where F is evaluated.

    Steps that are known to be final, entries that overflow and discrete states take F(P).
    """

    stop: Stop

    def init(self, window: Window) -> State:
        return evaluate(window, first_guess(window), self.stop, (), None)

    def step(self, state: State) -> State:
        final = final_steps(state)
        point = {number: _correct(final, state.point[number], new) for number, new in state.values.items()}
        new = evaluate(state.window, point, self.stop, state.sizes, state.point)
        return watch_floor(new, state.anchor, self.stop)

    def terminate(self, state: State) -> Verdict | None:
        return judge(state, self.stop)


@profiled
def picard(
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
    """Solve x_t = f(x_<t) by Picard sweeps over the windows between `bounds`; arguments and errors as in `jacobi`."""
    method = PicardSolver(Stop(atol, rtol, max_sweeps))
    equations = receive(loop, initial, buffers, per_step, shared, method.stop, batches_between(bounds))
    return solve_windows("picard", method, equations, bounds)


def _correct(final: Tensor, point: Tensor, new: Tensor) -> Tensor:
    if not has_size(new):
        return new
    known = final.reshape(-1, *(1 for _ in new.shape[1:]))
    moved = point + (new - point).cumsum(0)
    return torch.where(known | ~moved.isfinite(), new, moved)
