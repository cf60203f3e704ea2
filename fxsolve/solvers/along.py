"""Loops that run along the steps of another one, from its last step to its first, however many these were."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.numbers import longer_in_front
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution


class AlongLoop(Loop):
    """Equal steps along n others but for `spare`; step t reads entry n - 1 - backs[j] - t of a stack (n, ...).

    Where per-step value j is numbers, these were recorded along backs[j] others.
    """

    def __init__(
        self,
        body: nn.Module,
        lags: tuple[LoopLag, ...],
        last: tuple[int, ...],
        name: str,
        spare: int,
        backs: tuple[int, ...],
    ) -> None:
        super().__init__(body, 1, lags, last=last, name=name)
        self.spare = spare
        self.backs = backs

    def extra_repr(self) -> str:
        return f"{self.name}: lags={self.lags}, spare={self.spare}, backs={self.backs}"


@profiled
def along(
    loop: AlongLoop,
    initial: tuple[tuple[Tensor, ...], ...],
    along_steps: Tensor,
    per_step: tuple[Tensor | Sequence[float], ...],
    shared: tuple[Any, ...],
) -> tuple[Tensor, ...]:
    """Run the steps in order; returns the last values, which are the newest of `initial` where no step runs.

    `initial[j]` are the `distance` values of lag j before the first step, oldest first; `along_steps` (n, ...) is a
    stack of the steps that these run along.
    """
    steps = len(along_steps)
    count = steps - loop.spare
    states = [deque(values, maxlen=lag.distance) for values, lag in zip(initial, loop.lags, strict=True)]
    carried = list(zip(states, [lag.output for lag in loop.lags], strict=True))
    entries = [_from_the_end(given, back, steps) for given, back in zip(per_step, loop.backs, strict=True)]
    body = loop.body.forward
    outputs: tuple[Tensor, ...] = ()
    for _, *arriving in zip(range(count), *entries, strict=False):
        outputs = body(*[state[0] for state in states], *arriving, *shared)
        for state, number in carried:
            state.append(outputs[number])
    solution = Solution(loop.name, "along", max(count, 1), count, "sequential", prefix=max(count, 1))
    publish(solution, lambda one: of_own_steps(one, loop))
    newest = outputs or {number: state[-1] for state, number in reversed(carried)}
    return tuple(newest[number] for number in loop.last)


def _from_the_end(given: Tensor | Sequence[float], back: int, steps: int) -> Sequence[Any]:
    """What the steps read, one after the other."""
    if isinstance(given, Tensor):
        return given.unbind(0)[::-1][back:]
    return longer_in_front(given, steps - back)
