"""Jacobi sweeps that leave out the samples of a batch that have settled.

Samples never mix, so each is a system of its own, and the sweeps go on with those that still change, gathered into a
smaller batch. The last sweep is one of all samples: it tests them together, whatever the smaller batches did.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, Sampled, State, Verdict, evaluate, judge
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.rounding import watch_floor
from fxsolve.solvers.samples import SampleLoops, changed_samples
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Unknowns, Window, first_guess
from fxsolve.solvers.windows import Initial, receive, solve_windows

STRIDE = 2  # sweeps between two looks at the samples; a look costs about what the test of a sweep costs


@dataclass(frozen=True)
class JacobiBySample(Method):
    """S_b <- F(S_b) for the samples b that have not settled; then S <- F(S) for all."""

    stop: Stop
    samples: SampleLoops

    def init(self, window: Window) -> State:
        return evaluate(window, first_guess(window), self.stop, (), None)

    def step(self, state: State) -> State:
        if state.sampled.partial or len(state.sizes) % STRIDE:
            return self._sweep(state, state.values, state.sizes)
        awake, state = self._look(state)
        places = self._gather(awake)
        return self._sweep(state, state.values, state.sizes) if places is None else self._solve_apart(state, places)

    def terminate(self, state: State) -> Verdict | None:
        return judge(state, self.stop)

    def _sweep(self, state: State, point: Unknowns, sizes: tuple[float, ...]) -> State:
        swept = replace(evaluate(state.window, point, self.stop, sizes, None), sampled=state.sampled)
        return watch_floor(swept, state.anchor, self.stop)

    def _look(self, state: State) -> tuple[Tensor, State]:
        """Which samples have not settled, (B,), and the state that knows of it."""
        changes, slacks = changed_samples(state.values, state.point, self.samples.outputs, self.stop)
        awake = _unsettled(changes, slacks, state.sampled.changes, self.stop)
        return awake, replace(state, sampled=Sampled((*state.sampled.awake, int(awake.sum())), changes))

    def _gather(self, awake: Tensor) -> Tensor | None:
        """The places of the samples that go on, settled ones among them where a batch has room, if that is fewer."""
        count = int(awake.sum())
        size = self.samples.smallest(count) if count else None
        if size is None or size >= len(awake):
            return None
        return awake.to(torch.int8).argsort(descending=True, stable=True)[:size].sort().values

    def _solve_apart(self, state: State, places: Tensor) -> State:
        """Sweep some samples alone until they meet the test, or cannot; then all of them once."""
        window, point = self.samples.take(state.window, places), self.samples.take_values(state.values, places)
        sampled, exact = state.sampled, len(state.sizes)
        changes = sampled.changes[places] if sampled.changes is not None else None
        some = replace(evaluate(window, point, self.stop, state.sizes, None), sampled=replace(sampled, changes=changes))
        while self.terminate(some) is None:
            some = self.step(some)
        merged = self.samples.put_values(state.values, some.values, places, exact)
        apart = replace(sampled, partial=len(some.sizes) - exact)
        return self._sweep(replace(state, anchor=None, sampled=apart), merged, some.sizes)


def _unsettled(changes: Tensor, slacks: Tensor, before: Tensor | None, stop: Stop) -> Tensor:
    """Which samples have not settled, (B,): they changed, and miss the test of `stop`.

    The test is by the rate at which the changes of each shrank since the last look.
    """
    awake = changes != 0
    if before is None or not (stop.atol or stop.rtol):
        return awake
    rates = (changes / before) ** (1 / STRIDE)
    factors = torch.where(rates < 1, (rates / (1 - rates)).clamp(min=1.0), math.inf)
    return awake & ~(factors <= slacks)


@profiled
def jacobi_by_sample(
    loop: Loop,
    samples: SampleLoops,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    bounds: Sequence[int],
) -> Outputs:
    """Solve x_t = f(x_<t) as `jacobi` does, sweeping the samples that have not settled in batches of their own.

    Arguments and errors as in `jacobi`.
    """
    method = JacobiBySample(Stop(atol, rtol, max_sweeps), samples)
    equations = receive(loop, initial, buffers, per_step, shared, method.stop, batches_between(bounds))
    return solve_windows("jacobi_by_sample", method, equations, bounds)
