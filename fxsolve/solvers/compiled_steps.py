"""The certificate of a loop that ran in order by compiled steps: the program's own steps, once more, at its values."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fxsolve.solvers.bound import largest_gap
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.certify import certify_by_disturbance
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.window import Outputs, Unknowns

_EVERY = 64  # steps between two disturbances, which are followed over as many


@dataclass(frozen=True)
class OwnSteps:
    """The steps of a loop whose lags all have distance 1, as the program makes them: one by one, by `loop.body`.

    arriving(t) are the per-step inputs of step t.
    """

    loop: Loop
    initial: tuple[tuple[Tensor, ...], ...]
    buffers: tuple[Tensor, ...]
    arriving: Callable[[int], Sequence[Any]]
    shared: tuple[Any, ...]

    def step(self, t: int, values: Unknowns) -> Outputs:
        """Step t behind the stacks `values`."""
        pairs = zip(self.loop.lags, self.initial, strict=True)
        states = [values[lag.output][t - 1] if t else start[0] for lag, start in pairs]
        return self.run(t, states)

    def run(self, t: int, states: Sequence[Tensor]) -> Outputs:
        """Step t from the values of the lags before it."""
        return self.loop.body(*states, *self.buffers, *self.arriving(t), *self.shared)


def certify_compiled(solution: Solution, steps: OwnSteps, values: Unknowns) -> Certificate:
    """`values` are the stacks (T, ...) of the outputs that steps read, by number; costs one or two runs in order.

    Exact are the steps that the program's own leave as they are, whatever the compiled ones say.
    """
    rows = [steps.step(t, values) for t in range(steps.loop.length)]
    images = {number: torch.stack([row[number] for row in rows]) for number in values}
    unproved = replace(solution, prefix=0)
    before = [value for start in steps.initial for value in start]
    found = certify_by_disturbance(unproved, values, images, before, partial(_follow, steps, values))
    return replace(found, solution=solution)


def _follow(steps: OwnSteps, values: Unknowns, moved: Unknowns) -> Iterator[float]:
    """What is left of disturbances behind every 64th step, one step after it, then two, and so on."""
    numbers = [lag.output for lag in steps.loop.lags]
    runs = {t: [moved[number][t] for number in numbers] for t in range(0, steps.loop.length, _EVERY)}
    for distance in range(1, _EVERY + 1):
        runs = {t: states for t, states in runs.items() if t + distance < steps.loop.length}
        for t, states in runs.items():
            outputs = steps.run(t + distance, states)
            runs[t] = [outputs[number] for number in numbers]
        yield max((_gap(states, values, numbers, t + distance) for t, states in runs.items()), default=0.0)


def _gap(states: Sequence[Tensor], values: Unknowns, numbers: Sequence[int], t: int) -> float:
    return largest_gap(dict(zip(numbers, states, strict=True)), {number: values[number][t] for number in numbers})
