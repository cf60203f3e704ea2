"""Loops that stop on a value, step by step: the condition is read behind each of them, as the program reads it."""

from collections import deque
from typing import Any

from torch import Tensor, nn

from fxsolve.errors import GuardError
from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.gauss_seidel import stack_rows
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.trips import Trips, TripsError


class UntilLoop(Loop):
    """Equal steps until output number `condition` of one is `stops`; the outputs `checks` must have their values.

    Each pair (first, each) of `counts` wants the number first + each * (how many steps ran).

    `trips` are the numbers of steps that are known to be these; `length` is the greatest that was recorded.
    """

    def __init__(
        self,
        body: nn.Module,
        lags: tuple[LoopLag, ...],
        stacked: tuple[int, ...],
        last: tuple[int, ...],
        name: str,
        source: str,
        condition: int,
        stops: bool,
        checks: tuple[tuple[int, bool], ...],
        counts: tuple[tuple[int, int], ...],
        trips: Trips,
    ) -> None:
        super().__init__(body, max(trips.most, 1), lags, stacked=stacked, last=last, name=name)
        self.source = source  # the line that reads the condition
        self.condition = condition
        self.stops = stops
        self.checks = checks
        self.counts = counts
        self.trips = trips

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, until output {self.condition} is {self.stops}"


def until(
    loop: UntilLoop,
    initial: tuple[tuple[Tensor, ...], ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    before: Tensor | None,
) -> tuple[Any, ...]:
    """Run steps until one reads the value that stops them; none if `before` is that.

    Returns stacks (n, ...) of the n steps that ran, where there are some, then the last values and the counts.
    `initial[j]` are the `distance` values of lag j before the first step, oldest first; `per_step` are numbers, of
    which there are as many as steps were recorded, or a range that goes on. The device is read once a step. Raises
    `TripsError` for numbers of steps that are not known, and `GuardError` where a check fails.
    """
    states = [deque(values, maxlen=lag.distance) for values, lag in zip(initial, loop.lags, strict=True)]
    carried = list(zip(states, [lag.output for lag in loop.lags], strict=True))
    body, condition, stops = loop.body.forward, loop.condition, loop.stops
    stacks: list[list[Tensor]] = [[] for _ in loop.stacked]
    kept = list(zip(stacks, loop.stacked, strict=True))
    outputs: tuple[Any, ...] = ()
    count = 0
    known, limit = loop.trips.most, loop.trips.limit()
    if before is None or bool(before) != stops:
        while True:
            if count >= limit:
                loop.trips.check(loop.name, loop.source, count, is_over=False)
            arriving = [_number(loop, numbers, count) for numbers in per_step]
            outputs = body(*[state[0] for state in states], *arriving, *shared)
            for number, value in loop.checks:
                if bool(outputs[number]) != value:
                    message = f"step {count} of {loop.name} reads another value than all that were recorded"
                    raise GuardError(message, source=loop.source)
            for state, number in carried:
                state.append(outputs[number])
            for stack, number in kept:
                stack.append(outputs[number])
            count += 1
            if bool(outputs[condition]) == stops:
                break
    if not loop.trips.least <= count <= known:
        loop.trips.check(loop.name, loop.source, count, is_over=True)
    solution = Solution(loop.name, "until", max(count, 1), count, "stopped", prefix=max(count, 1))
    publish(solution, lambda one: of_own_steps(one, loop))
    counts = (first + each * count for first, each in loop.counts)
    newest = outputs or {number: state[-1] for state, number in reversed(carried)}
    return (*map(stack_rows, stacks), *(newest[number] for number in loop.last), *counts)


def _number(loop: UntilLoop, numbers: Any, count: int) -> Any:
    """The number of a step."""
    if isinstance(numbers, range):
        return numbers.start + count * numbers.step
    if count < len(numbers):
        return numbers[count]
    message = f"{loop.name} takes more steps than the {len(numbers)} whose numbers were recorded"
    raise TripsError(message, loop.source, may_be=False)
