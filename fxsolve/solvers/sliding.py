"""Sliding-window GS-Jacobi: a window of W steps that moves on past the leading steps that a sweep settled.

Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021 (arXiv
2002.03629), section 4.3; the window slides as in Shih et al., NeurIPS 2023 (arXiv 2305.16317), algorithm 1.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.solvers.iterate import Method, Slid, State, Verdict
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.norms import Change
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.step_changes import find_front
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import (
    Outputs,
    Unknowns,
    Window,
    advance,
    first_guess,
    open_window,
    shortest_lag,
    sweep,
    unknowns,
)
from fxsolve.solvers.windows import Initial, receive, solve_windows


@dataclass(frozen=True)
class Sliding(Method):
    """S <- F(S) over `width` steps; the first step of a window is exact after one sweep.

    Steps that a sweep left bitwise unchanged are final, and so is the first one that it changed, which reads only them;
    with a tolerance the same is said of steps whose change meets the test. The last window stays `width` steps long.
    """

    stop: Stop
    width: int

    def init(self, window: Window) -> State:
        first = open_window(window.given, window.frontier, min(window.start + self.width, window.stop))
        return self._sweep(first, first_guess(first), (), Slid((), None, 0, window.start))

    def step(self, state: State) -> State:
        slid = _slid(state)
        past = min(slid.settled, state.window.loop.length - state.window.stop)
        window, point, outputs = state.window, state.values, state.outputs
        before = slid.before
        if past > 0:
            point = _shift(state, past)
            # A view would keep the outputs of the whole window alive.
            before = (*before, tuple(output[:past].clone() for output in outputs))
            solved = open_window(window.given, window.frontier, window.start + past)
            frontier = advance(solved, unknowns(window.loop, before[-1]))
            window = open_window(window.given, frontier, window.stop + past)
        changes = slid.changes[past:] if slid.changes is not None and past < state.window.length else None
        return self._sweep(window, point, state.sizes, Slid(before, changes, slid.settled - past, slid.proved))

    def terminate(self, state: State) -> Verdict | None:
        slid, window, count = _slid(state), state.window, len(state.sizes)
        length = window.loop.length
        finite = state.change.finite or count == 1
        if finite and window.stop == length and slid.settled == window.length:
            return "exact" if slid.proved == length else "converged"
        allowed = length if self.stop.max_sweeps is None else self.stop.max_sweeps
        return "unsolved" if not finite or count >= allowed else None

    def _sweep(self, window: Window, point: Unknowns, sizes: tuple[float, ...], slid: Slid) -> State:
        """Sweep, and count what is settled: more steps than before, whatever the test says."""
        outputs = sweep(window, point)
        pairs = [(new, point[number]) for number, new in unknowns(window.loop, outputs).items()]
        front = find_front(pairs, slid.changes, self.stop, window.length)
        lag = shortest_lag(window)
        settled = min(max(front.leading, slid.settled) + lag, window.length)
        proved = slid.proved
        if proved >= window.start:
            proved = min(max(window.start + front.exact, proved) + lag, window.stop)
        change = Change(front.size, converged=False, exact=False, finite=not math.isnan(front.size))
        counted = Slid(slid.before, front.sizes, settled, proved)
        return State(window, point, outputs, change, (*sizes, front.size), slid=counted)


@profiled
def sliding(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    window: int,
) -> Outputs:
    """Solve x_t = f(x_<t) by sweeps over `window` steps at a time; arguments as in `jacobi`.

    `loop.body` is called with stacks of min(window, T) steps, and of one step where it must finish in order, which it
    does when `max_sweeps` sweeps in all were not enough or a value is not finite. Raises `ScheduleError` if `window`
    is less than 1.
    """
    if window < 1:
        raise ScheduleError(f"{loop.name} has a window of {window} steps; it needs one or more")
    method = Sliding(Stop(atol, rtol, max_sweeps), window)
    batches = _batches(loop.length, min(window, loop.length))
    equations = receive(loop, initial, buffers, per_step, shared, method.stop, batches)
    return solve_windows("sliding", method, equations, (0, loop.length))


def _batches(length: int, width: int) -> list[slice]:
    """All steps, `width` at a time; the last batch is as long as the others."""
    return [slice(start, start + width) for start in (*range(0, length - width, width), length - width)]


def _slid(state: State) -> Slid:
    assert state.slid is not None
    return state.slid


def _shift(state: State, past: int) -> Unknowns:
    """The iterate of the window `past` steps later: what is known of it, then a guess from the newest values."""
    window, values = state.window, state.values
    behind = open_window(window.given, advance(window, values), window.stop + past)
    fresh = first_guess(behind)
    return {number: torch.cat((known[past:], fresh[number])) for number, known in values.items()}
