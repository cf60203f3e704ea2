"""The laws of a schedule: every equation once, in steps that follow one another, after what it reads."""

import math
from collections.abc import Iterator

from fxsolve.errors import ScheduleError
from fxsolve.scheduler.schedule import Apply, GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.solvers.stop import Stop
from fxsolve.system.spec import Equation, Repeat, System, inputs_of, outputs_of


def verify_schedule(schedule: Schedule, system: System) -> None:
    """Check that running `schedule` solves every equation of `system` exactly once with everything it reads known.

    Raises `ScheduleError` naming the equation.
    """
    equations = {equation.name: equation for equation in system.equations}
    known = set(system.inputs)
    reached = dict.fromkeys(equations, 0)
    for leaf, stop in _leaves(schedule):
        name = leaf.block if isinstance(leaf, Apply) else leaf.repeat
        if name not in equations:
            raise ScheduleError(f"the schedule names {name}, which is no equation; there are {', '.join(equations)}")
        equation = equations[name]
        _check_stop(name, stop)
        reached[name] = _advance(leaf, equation, reached[name])
        _check_known(equation, known)
        if reached[name] == _length(equation):
            known.update(outputs_of(equation))
    for name, done in reached.items():
        if done < _length(equations[name]):
            raise ScheduleError(f"the schedule solves {done} of {_length(equations[name])} steps of {name}")


def _leaves(schedule: Schedule) -> Iterator[tuple[Apply | Steps, Stop | None]]:
    """The leaves in the order in which they run, with the stop test of the method that acts on them."""
    match schedule:
        case GaussSeidel(children):
            for child in children:
                yield from _leaves(child)
        case Jacobi(child, stop):
            yield child, stop
        case _:
            yield schedule, None


def _length(equation: Equation) -> int:
    return equation.length if isinstance(equation, Repeat) else 1


def _advance(leaf: Apply | Steps, equation: Equation, done: int) -> int:
    """The number of solved steps behind `leaf`, of which `done` were solved before it."""
    name, length = equation.name, _length(equation)
    if isinstance(leaf, Apply) == isinstance(equation, Repeat):
        form = "a repeat; schedule its steps" if isinstance(equation, Repeat) else "a block and has no steps"
        raise ScheduleError(f"{name} is {form}")
    start, stop = (0, 1) if isinstance(leaf, Apply) else (leaf.start, leaf.stop)
    if done == length:
        raise ScheduleError(f"{name} is solved twice")
    if start != done or not start < stop <= length:
        raise ScheduleError(
            f"{name}[{start}:{stop}] cannot follow step {done} of {length}; the steps must tile 0:{length}"
        )
    return stop


def _check_known(equation: Equation, known: set[str]) -> None:
    for name in inputs_of(equation):
        if name not in known:
            raise ScheduleError(f"{equation.name} reads {name}, which the schedule has not solved before it")


def _check_stop(name: str, stop: Stop | None) -> None:
    if stop is None:
        return
    if not (math.isfinite(stop.atol) and math.isfinite(stop.rtol) and stop.atol >= 0 and stop.rtol >= 0):
        raise ScheduleError(f"{name} has atol={stop.atol}, rtol={stop.rtol}; tolerances are finite and not negative")
    if stop.max_sweeps is not None and stop.max_sweeps < 1:
        raise ScheduleError(f"{name} has max_sweeps={stop.max_sweeps}; allow one sweep or more")
