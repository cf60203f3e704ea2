"""Loops that stop on a value, step by step: the condition is read behind each of them, as the program reads it."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from fxsolve.errors import GuardError
from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.gauss_seidel import stack_rows
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.ranges import profiled
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


@profiled
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
    found = follow(loop, initial, before, own_steps(loop, per_step, shared))
    solution = solution_of(loop, "until", found.steps)
    publish(solution, lambda one: of_own_steps(one, loop))
    return found.results


# From the values of the lags, and how many steps ran: the outputs of the next step, and maybe of some that follow it.
Steps = Callable[[Sequence[Sequence[Tensor]], int], Iterable[Any]]


class Followed(NamedTuple):
    """What a loop gives, and in how many steps."""

    results: tuple[Any, ...]
    steps: int


def own_steps(loop: UntilLoop, per_step: tuple[Any, ...], shared: tuple[Any, ...]) -> Steps:
    """The steps of the program, one by one."""
    body = loop.body.forward

    def step(states: Sequence[Sequence[Tensor]], count: int) -> Iterable[Any]:
        arriving = [_number(loop, numbers, count) for numbers in per_step]
        return (body(*[state[0] for state in states], *arriving, *shared),)

    return step


def follow(loop: UntilLoop, initial: tuple[tuple[Tensor, ...], ...], before: Tensor | None, steps: Steps) -> Followed:
    """Take steps until one stops; as `until`."""
    states = [deque(values, maxlen=lag.distance) for values, lag in zip(initial, loop.lags, strict=True)]
    carried = list(zip(states, [lag.output for lag in loop.lags], strict=True))
    condition, stops = loop.condition, loop.stops
    stacks: list[list[Tensor]] = [[] for _ in loop.stacked]
    kept = list(zip(stacks, loop.stacked, strict=True))
    outputs: Any = ()
    count = 0
    limit = loop.trips.limit()
    goes_on = before is None or bool(before) != stops
    while goes_on:
        if count >= limit:
            loop.trips.check(loop.name, loop.source, count, is_over=False)
        for outputs in steps(states, count):
            if loop.checks:
                _check(loop, outputs, count)
            for state, number in carried:
                state.append(outputs[number])
            for stack, number in kept:
                stack.append(outputs[number])
            count += 1
            goes_on = bool(outputs[condition]) != stops
            if not goes_on or count >= limit:
                break
    if count not in loop.trips.seen:
        loop.trips.check(loop.name, loop.source, count, is_over=True)
    counts = (first + each * count for first, each in loop.counts)
    newest = outputs or {number: state[-1] for state, number in reversed(carried)}
    return Followed((*map(stack_rows, stacks), *(newest[number] for number in loop.last), *counts), count)


def solution_of(loop: UntilLoop, method: str, count: int) -> Solution:
    """What is told of a loop that stopped."""
    return Solution(loop.name, method, max(count, 1), count, "stopped", prefix=max(count, 1))


def _check(loop: UntilLoop, outputs: Any, count: int) -> None:
    for number, value in loop.checks:
        if bool(outputs[number]) != value:
            message = f"step {count} of {loop.name} reads another value than all that were recorded"
            raise GuardError(message, source=loop.source)


def _number(loop: UntilLoop, numbers: Any, count: int) -> Any:
    """The number of a step."""
    if isinstance(numbers, range):
        return numbers.start + count * numbers.step
    if count < len(numbers):
        return numbers[count]
    message = f"{loop.name} takes more steps than the {len(numbers)} whose numbers were recorded"
    raise TripsError(message, loop.source, may_be=False)
