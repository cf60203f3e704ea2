"""Loops that run along the steps of another one, from its last step to its first, however many these were."""

from collections import deque

from torch import Tensor, nn

from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution


class AlongLoop(Loop):
    """Equal steps, of stacks (n, ...) as many as entries but for `spare`; step t reads entry n - 1 - backs[j] - t."""

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
    loop: AlongLoop, initial: tuple[tuple[Tensor, ...], ...], stacks: tuple[Tensor, ...], shared: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Run the steps in order; returns the last values, which are the newest of `initial` where no step runs.

    `initial[j]` are the `distance` values of lag j before the first step, oldest first.
    """
    count = len(stacks[0]) - loop.spare
    states = [deque(values, maxlen=lag.distance) for values, lag in zip(initial, loop.lags, strict=True)]
    carried = list(zip(states, [lag.output for lag in loop.lags], strict=True))
    entries = [stack.unbind(0)[::-1][back:] for stack, back in zip(stacks, loop.backs, strict=True)]
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
