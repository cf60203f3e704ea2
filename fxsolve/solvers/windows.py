"""Windows of a loop solved one behind the other, and what comes out of them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.certify import certify
from fxsolve.solvers.equations import Equations
from fxsolve.solvers.iterate import Method, Solved, iterate
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution, Status
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Frontier, Given, Outputs, Unknowns, advance, open_window, unknowns

Initial = tuple[tuple[Tensor, ...], ...]


def solve_windows(
    name: str,
    method: Method,
    equations: Equations,
    bounds: Sequence[int],
    computed: Unknowns | None = None,
    sweeps: int = 0,
) -> Outputs:
    """Solve the windows between `bounds` = (0, b_1, ..., T) by `method`; each is frozen before the next.

    `computed` are values of all steps that sweeps are to confirm, and `sweeps` those that made them. Returns the stacks
    (T, ...), the last values and the final buffers. Raises `ScheduleError` if `bounds` do not increase from 0 to T.
    """
    given, frontier, solved = equations.given, equations.start, list[Solved]()
    _check_bounds(given.loop, bounds)
    for end in bounds[1:]:
        window = open_window(given, frontier, end)
        solved.append(iterate(method, window))
        frontier = advance(window, unknowns(given.loop, solved[-1].outputs))
    return conclude(name, equations, solved, frontier, computed, sweeps)


def conclude(
    name: str,
    equations: Equations,
    solved: list[Solved],
    frontier: Frontier,
    computed: Unknowns | None = None,
    sweeps: int = 0,
) -> Outputs:
    """Publish what came of the windows, and return what `solve_windows` does."""
    loop, pieces = equations.given.loop, [window.outputs for window in solved]

    def certificate(solution: Solution) -> Certificate:
        numbers = unknowns(loop, pieces[0])
        return certify(solution, equations, {k: _join([outputs[k] for outputs in pieces]) for k in numbers})

    pairs = [(stack, _join([outputs[k] for outputs in pieces])) for k, stack in (computed or {}).items()]
    found = _summarize(loop, name, solved)
    publish(replace(found, sweeps=sweeps + found.sweeps, redrawn=_redrawn(pairs)), certificate)
    return _results(loop, pieces, frontier)


def receive(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    stop: Stop,
    batches: Sequence[slice],
) -> Equations:
    """The equations of a loop with its inputs. Raises `ScheduleError` if `stop` allows no sweep."""
    if stop.max_sweeps is not None and stop.max_sweeps < 1:
        raise ScheduleError(f"{loop.name} has max_sweeps = {stop.max_sweeps}; allow one sweep or more")
    return Equations(Given(loop, per_step, shared), start_of(initial, buffers), batches)


def start_of(initial: Initial, buffers: tuple[Tensor, ...]) -> Frontier:
    """What the first step reads."""
    return Frontier(0, tuple(torch.stack(values) for values in initial), buffers)


def _results(loop: Loop, windows: list[Outputs], frontier: Frontier) -> Outputs:
    """The stacks, the last values and the buffers that the program goes on with."""
    stacks = [_join([outputs[number] for outputs in windows]) for number in loop.stacked]
    # A view would keep the whole stack alive.
    last = [windows[-1][number][-1].clone() for number in loop.last]
    return (*stacks, *last, *frontier.buffers)


def _summarize(loop: Loop, method: str, windows: list[Solved]) -> Solution:
    """Sums over the windows, the weakest status and the change behind it, and the steps known to be final."""
    status = _weakest([window.status for window in windows])
    prefix = 0
    for window in windows:
        prefix += window.final
        if window.status == "converged":
            break
    weakest = max((window for window in windows if window.status == status), key=lambda window: window.change)
    return Solution(
        name=loop.name,
        method=method,
        length=loop.length,
        sweeps=sum(window.sweeps for window in windows),
        status=status,
        change=weakest.change,
        prefix=prefix,
    )


def _redrawn(pairs: Sequence[tuple[Tensor, Tensor]]) -> int | None:
    """The steps at which discrete values of two stacks (T, ...) differ, which rounding alone cannot explain."""
    discrete = [(old, new) for old, new in pairs if not (old.is_floating_point() or old.is_complex())]
    if not discrete:
        return None
    changed = torch.stack([(old != new).reshape(len(old), -1).any(1) for old, new in discrete])
    return int(changed.any(0).sum())


def _check_bounds(loop: Loop, bounds: Sequence[int]) -> None:
    increasing = all(start < stop for start, stop in pairwise(bounds))
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != loop.length or not increasing:
        raise ScheduleError(
            f"the windows of {loop.name} have the limits {tuple(bounds)}; they must increase from 0 to {loop.length}"
        )


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _weakest(statuses: list[Status]) -> Status:
    order: tuple[Status, ...] = ("finished sequentially", "converged", "exact")
    return next(status for status in order if status in statuses)
