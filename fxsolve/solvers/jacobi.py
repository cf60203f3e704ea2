"""Jacobi sweeps over windows of a loop: whole Jacobi with one window, GS-Jacobi with several.

Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021
(arXiv 2002.03629), algorithms 1 and 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.solvers.bitwise import unchanged_steps
from fxsolve.solvers.in_order import run_in_order
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.norms import measure
from fxsolve.solvers.solution import Solution, publish
from fxsolve.solvers.stop import Stop, tighten
from fxsolve.solvers.window import Frontier, Given, Window, advance, depth, first_guess, open_window, sweep

Outputs = tuple[Tensor, ...]
Unknowns = Mapping[int, Tensor]
_Status = Literal["exact", "converged", "finished sequentially"]


@dataclass(frozen=True)
class _Solved:
    """The outputs of one window as (length, ...) stacks, and how they came about; `final` leading steps are exact."""

    outputs: Outputs
    sweeps: int
    status: _Status
    change: float
    final: int


def jacobi(
    loop: Loop,
    initial: tuple[tuple[Tensor, ...], ...],
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
    _check_bounds(loop, bounds)
    stop = Stop(atol, rtol, max_sweeps)
    given = Given(loop, per_step, shared)
    frontier = Frontier(0, tuple(torch.stack(values) for values in initial), buffers)
    solved: list[_Solved] = []
    for end in bounds[1:]:
        window = open_window(given, frontier, end)
        solved.append(_solve(window, stop))
        frontier = advance(window, _unknowns(loop, solved[-1].outputs))
    publish(_solution(loop, solved))
    return _results(loop, [window.outputs for window in solved], frontier)


def _check_bounds(loop: Loop, bounds: Sequence[int]) -> None:
    increasing = all(start < stop for start, stop in pairwise(bounds))
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != loop.length or not increasing:
        raise ScheduleError(
            f"the windows of {loop.name} have the limits {tuple(bounds)}; they must increase from 0 to {loop.length}"
        )


def _solve(window: Window, stop: Stop) -> _Solved:
    """Sweep one window until the test holds, or as often as its chain of steps is long, which is exact."""
    limit = depth(window)
    allowed = limit if stop.max_sweeps is None else stop.max_sweeps
    newest = first_guess(window)
    sizes: list[float] = []
    for count in range(1, allowed + 1):
        guess = newest
        outputs = sweep(window, guess)
        newest = _unknowns(window.loop, outputs)
        change = measure(_pairs(newest, guess), tighten(stop, sizes))
        sizes.append(change.size)
        # The start may be non-finite itself (a buffer that was never filled), so the first change proves nothing.
        finite = change.finite or count == 1
        if change.exact or (finite and count == limit):
            return _Solved(outputs, count, "exact", change.size, window.length)
        if change.converged:
            return _Solved(outputs, count, "converged", change.size, count)
        if not finite or count == allowed:
            return _finish(window, outputs, guess, count, change.size)
    raise ScheduleError(f"{window.loop.name} has max_sweeps = {stop.max_sweeps}; allow one sweep or more")


def _finish(window: Window, outputs: Outputs, guess: Unknowns, count: int, change: float) -> _Solved:
    """Keep the steps that the last sweep left bitwise unchanged, and run the others one by one."""
    prefix = unchanged_steps(_pairs(_unknowns(window.loop, outputs), guess), window.length)
    pieces: list[Outputs] = []
    frontier = window.frontier
    if prefix > 0:
        solved = open_window(window.given, frontier, window.start + prefix)
        pieces.append(tuple(output[:prefix] for output in outputs))
        frontier = advance(solved, _unknowns(window.loop, pieces[0]))
    if prefix < window.length:
        pieces.append(run_in_order(open_window(window.given, frontier, window.stop)))
    joined = tuple(torch.cat(stacks) for stacks in zip(*pieces, strict=True))
    return _Solved(joined, count + window.length - prefix, "finished sequentially", change, window.length)


def _unknowns(loop: Loop, outputs: Outputs) -> Unknowns:
    """The outputs that steps read from one another, by number."""
    numbers = [lag.output for lag in loop.lags] + [buffer.output for buffer in loop.buffer_specs]
    return {number: outputs[number] for number in numbers}


def _pairs(new: Unknowns, old: Unknowns) -> Iterator[tuple[Tensor, Tensor]]:
    return ((values, old[number]) for number, values in new.items())


def _results(loop: Loop, windows: list[Outputs], frontier: Frontier) -> Outputs:
    stacks = [_join([outputs[number] for outputs in windows]) for number in loop.stacked]
    # A view would keep the whole stack alive.
    last = [windows[-1][number][-1].clone() for number in loop.last]
    return (*stacks, *last, *frontier.buffers)


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _solution(loop: Loop, windows: list[_Solved]) -> Solution:
    """Sums over the windows, the weakest status and the change behind it, and the steps known to be final."""
    status = _weakest([window.status for window in windows])
    prefix = 0
    for window in windows:
        prefix += window.final
        if window.status == "converged":
            break
    return Solution(
        name=loop.name,
        method="jacobi",
        length=loop.length,
        sweeps=sum(window.sweeps for window in windows),
        status=status,
        change=max(window.change for window in windows if window.status == status),
        prefix=prefix,
    )


def _weakest(statuses: list[_Status]) -> _Status:
    if "finished sequentially" in statuses:
        return "finished sequentially"
    return "converged" if "converged" in statuses else "exact"
