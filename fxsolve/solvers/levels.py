"""Sweeps without a test, as many as the equations are deep: level by level, every entry becomes exact in its turn.

Naumov, "Parallel complete solution of triangular systems by levels", as used in arXiv 1712.06577, section 2.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, State, Verdict
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.norms import Change, has_size
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Unknowns, Window, first_guess, sweep
from fxsolve.solvers.windows import Initial, receive, solve_windows

_UNMEASURED = Change(math.nan, converged=False, exact=False, finite=True)


@dataclass(frozen=True)
class LevelsSolver(Method):
    """S <- F(S), `depth` times; the device is read once, behind the last sweep.

    An infinite entry times a structural zero is NaN, so the law holds only while every sweep is finite.
    """

    depth: int

    def init(self, window: Window) -> State:
        return self._sweep(window, first_guess(window), (), None)

    def step(self, state: State) -> State:
        return self._sweep(state.window, state.values, state.sizes, state.finite)

    def terminate(self, state: State) -> Verdict | None:
        if len(state.sizes) < self.depth:
            return None
        return "exact" if state.change.finite else "spoiled"

    def _sweep(self, window: Window, point: Unknowns, sizes: tuple[float, ...], finite: Tensor | None) -> State:
        state = State(window, point, sweep(window, point), _UNMEASURED, (*sizes, math.nan))
        flags = [_is_finite(values) for values in state.values.values() if values.numel() > 0]
        if finite is not None:
            flags.append(finite)
        state = replace(state, finite=torch.stack(flags).all() if flags else None)
        return state if len(state.sizes) < self.depth else _read(state)


@profiled
def levels(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    depth: int,
) -> Outputs:
    """Sweep all T steps exactly `depth` times, `depth` being the longest chain of entries that read one another.

    The body is that of `jacobi`. Should any entry become infinite or NaN on the way, all steps
    are run in order. Raises `ScheduleError` if `depth` is less than 1.
    """
    if depth < 1:
        raise ScheduleError(f"{loop.name} has depth = {depth}; every equation has a level of 1 or more")
    bounds = (0, loop.length)
    equations = receive(loop, initial, buffers, per_step, shared, Stop(), batches_between(bounds))
    return solve_windows("levels", LevelsSolver(depth), equations, bounds)


def _is_finite(values: Tensor) -> Tensor:
    if not has_size(values):
        return torch.ones((), dtype=torch.bool, device=values.device)
    low, high = torch.aminmax(torch.view_as_real(values.resolve_conj()) if values.is_complex() else values)
    return low.isfinite() & high.isfinite()


def _read(state: State) -> State:
    finite = state.finite is None or bool(state.finite)
    return replace(state, change=replace(_UNMEASURED, finite=finite))
