"""A window of steps that slides past those that a sweep settled; each sweep computes what the window may change alone.

It is `sliding` with what steps before the window left, and with one sweep of all steps behind it, as `incremental` has.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.gauss_seidel import separate
from fxsolve.solvers.incremental import CheckedOnce, StageRun, StepProgram, starting_at
from fxsolve.solvers.iterate import Solved, iterate
from fxsolve.solvers.jacobi import JacobiSolver
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.sliding import Sliding
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Given, Outputs, Window, open_window
from fxsolve.solvers.windows import Initial, receive, solve_windows


@profiled
def lookahead(
    loop: Loop,
    program: StepProgram,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    bounds: Sequence[int],
) -> Outputs:
    """Compute the steps of a window from guesses of one another until they settle, then sweep all as `incremental`.

    The program is one of a `Lookahead` order. Arguments and errors as in `incremental`.
    """
    stop = Stop(atol, rtol, max_sweeps)
    equations = receive(loop, initial, buffers, per_step, shared, stop, batches_between(bounds))
    ahead = look_ahead(program, equations.window, replace(stop, max_sweeps=None))
    values = dict(zip(program.outputs, ahead.outputs, strict=True))
    method = CheckedOnce(JacobiSolver(stop, starting_at(values)))
    return solve_windows("lookahead", method, equations, bounds, values, ahead.sweeps)


def look_ahead(program: StepProgram, window: Window, stop: Stop) -> Solved:
    """The outputs of all steps of a loop that steps read from one another, (T, ...), in the order of the program."""
    loop, width = window.loop, program.order.together
    assert width is not None
    places = {output: place for place, output in enumerate(program.outputs)}
    kept = Loop(
        KeptSweeps(program, loop.body, len(loop.lags) + len(loop.buffer_specs) + len(window.per_step)),
        loop.length,
        tuple(LoopLag(places[lag.output], lag.distance) for lag in loop.lags),
        tuple(Buffer(places[spec.output], spec.dim, spec.index) for spec in loop.buffer_specs),
        name=loop.name,
    )
    given = Given(kept, (*window.per_step, torch.arange(loop.length, device="cpu")), window.given.shared)
    return iterate(Sliding(stop, width), open_window(given, window.frontier, loop.length))


class KeptSweeps(nn.Module):
    """Sweeps of windows of one loop that take up what those before left; any other steps are those of `body`.

    It takes the numbers of the steps, (n,), in front of what they share, at `place`. A window begins less than its
    length behind the one before, and what it reads from before its first step is solved.
    """

    def __init__(self, program: StepProgram, body: nn.Module, place: int) -> None:
        super().__init__()
        self.program = program
        self.body = body
        self.place = place
        self._start = StageRun(program.start, 1)
        self._runs = [StageRun(stage, len(program.order.runs)) for stage in program.stages]
        self._kept: list[Tensor] = []
        self._begun = False

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        given, steps = (*reads[: self.place], *reads[self.place + 1 :]), reads[self.place]
        if len(steps) != self.program.order.together:
            made = self.body(*given)
            return tuple(made[number] for number in self.program.outputs)
        return separate(self._swept(int(steps[-1]), given), self._kept)

    def _swept(self, last: int, given: tuple[Any, ...]) -> tuple[Tensor, ...]:
        made: tuple[Tensor, ...] = ()
        if not self._begun:
            # It makes room for all that steps keep, and is right about the first step alone.
            made, count = self._start(0, [], given), len(self.program.outputs)
            made, self._kept, self._begun = made[:count], list(made[count:]), True
        found = [run(last, self._kept, given) for run in self._runs]
        return next((one for one in found[::-1] if one), made)
