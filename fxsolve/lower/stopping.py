"""A repeat whose number of steps is known while it runs, as the call of its solver."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fxsolve.ir.spec import Along, Repeat, Slices, Table, Until
from fxsolve.ir.tables import as_numbers
from fxsolve.lower.arguments import Values, carried_arguments, step_arguments
from fxsolve.lower.lower import counts_of, step_loop
from fxsolve.lower.scalars import with_numbers
from fxsolve.solvers.along import AlongLoop, along
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.trips import Trips
from fxsolve.solvers.until import UntilLoop, until


@dataclass(frozen=True)
class Stopping:
    """solver(loop, *arguments(values)) gives what the repeat writes, as `results_of` numbers it."""

    solver: Callable[..., tuple[Any, ...]]
    loop: Loop
    arguments: Callable[[Values], tuple[Any, ...]]

    def solve(self, values: Values) -> tuple[Any, ...]:
        return self.solver(self.loop, *self.arguments(values))


def stopping(repeat: Repeat) -> Stopping:
    """How a repeat runs that stops on a value, or along what one did."""
    if isinstance(repeat.until, Along):
        return _along(repeat, repeat.until)
    assert repeat.until is not None
    return _until(repeat, repeat.until)


def _until(repeat: Repeat, how: Until) -> Stopping:
    loop = step_loop(repeat)
    kept = {lag.output for lag in loop.lags} | {*loop.stacked, *loop.last}
    decisions = {how.output, *(number for number, _ in how.checks)} - kept
    body = with_numbers(loop.body, decisions)
    trips = Trips(how.least, repeat.length, how.fewest)
    stop = (how.output, how.stops, how.checks, counts_of(repeat), trips)

    def arguments(values: Values) -> tuple[Any, ...]:
        found = step_arguments(repeat, values)
        before = values.named[how.before] if how.before else None
        return found.initial, found.per_step, found.shared, before

    return Stopping(
        until,
        UntilLoop(body, loop.lags, loop.stacked, loop.last, repeat.name, repeat.source, *stop),
        arguments,
    )


def _along(repeat: Repeat, how: Along) -> Stopping:
    loop = step_loop(repeat)
    arriving = [read for read in repeat.reads if isinstance(read, (Slices, Table))]
    backs = tuple(how.length - 1 - read.index[0] if isinstance(read, Slices) else how.length for read in arriving)

    def arguments(values: Values) -> tuple[Any, ...]:
        found = carried_arguments(repeat, values)
        per_step = tuple(values.named[one.source] if isinstance(one, Slices) else as_numbers(one) for one in arriving)
        return found.initial, values.named[how.stack], per_step, found.shared

    return Stopping(along, AlongLoop(loop.body, loop.lags, loop.last, repeat.name, how.spare, backs), arguments)
