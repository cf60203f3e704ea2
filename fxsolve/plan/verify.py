"""The laws of a schedule: every equation once, in steps that follow one another, after what it reads."""

import math

from fxsolve.errors import ScheduleError
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Equation, Repeat, System, inputs_of, outputs_of
from fxsolve.plan.method import Iterative, MethodNode, Part, Steps, steps_of
from fxsolve.plan.proofs import STOPS
from fxsolve.plan.schedule import (
    Apply,
    BlockMethod,
    GaussSeidel,
    JacobiBlocks,
    Schedule,
    block_methods,
    leaves,
    name_of,
    parts_by_repeat,
    runs_in_order,
)
from fxsolve.solvers.stop import Stop


def verify_schedule(schedule: Schedule, system: System) -> None:
    """Check that running `schedule` solves every equation of `system` exactly once with everything it reads known.

    Raises `ScheduleError` naming the equation.
    """
    equations = {equation.name: equation for equation in system.equations}
    known = set(system.inputs)
    reached = dict.fromkeys(equations, 0)
    for leaf in leaves(schedule):
        name = name_of(leaf)
        if name not in equations:
            raise ScheduleError(f"the schedule names {name}, which is no equation; there are {', '.join(equations)}")
        equation = equations[name]
        reached[name] = _advance(leaf, equation, reached[name])
        _check_known(equation, known)
        _check_inside(leaf, equation)
        if reached[name] == _length(equation):
            known.update(outputs_of(equation))
    for name, done in reached.items():
        if done < _length(equations[name]):
            raise ScheduleError(f"the schedule solves {done} of {_length(equations[name])} steps of {name}")
    for method in block_methods(schedule):
        _check_blocks(method)
    parts = parts_by_repeat(schedule)
    for repeat in system.repeats:
        _check_parts(repeat, parts.get(repeat.name, ()))


def _check_blocks(method: BlockMethod) -> None:
    if not method.children or not all(map(_is_row, method.children)):
        raise ScheduleError(f"{method} must be over blocks, and blocks in gs(...)")
    if isinstance(method, JacobiBlocks):
        _check_stop(str(method), method.stop)


def _is_row(child: Schedule) -> bool:
    return isinstance(child, Apply) or (isinstance(child, GaussSeidel) and child.is_row)


def _length(equation: Equation) -> int:
    return equation.length if isinstance(equation, Repeat) else 1


def _advance(leaf: Apply | Part, equation: Equation, done: int) -> int:
    """The number of solved steps behind `leaf`, of which `done` were solved before it."""
    name, length = equation.name, _length(equation)
    if isinstance(leaf, Apply) == isinstance(equation, Repeat):
        form = "a repeat; schedule its steps" if isinstance(equation, Repeat) else "a block and has no steps"
        raise ScheduleError(f"{name} is {form}")
    steps = Steps(name, 0, 1) if isinstance(leaf, Apply) else steps_of(leaf)
    start, stop = steps.start, steps.stop
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


def _check_inside(leaf: Apply | Part, equation: Equation) -> None:
    """What a leaf says of the repeats in its steps: all steps of each that it names, in order."""
    if isinstance(leaf, Apply) or not isinstance(equation, Repeat) or not steps_of(leaf).inside:
        return
    steps, repeats = steps_of(leaf), {inner.name: inner for inner in loops_inside(equation)}
    if not runs_in_order(leaf):
        raise ScheduleError(f"{leaf} sweeps the steps of {equation.name}; loops inside them cannot be scheduled then")
    reached = dict.fromkeys(repeats, 0)
    for child in (one for schedule in steps.inside for one in leaves(schedule)):
        name = name_of(child)
        if name not in repeats:
            raise ScheduleError(f"{name} is no loop in the steps of {equation.name}; these are {', '.join(repeats)}")
        reached[name] = _advance(child, repeats[name], reached[name])
        _check_inside(child, repeats[name])
    own = parts_by_repeat(GaussSeidel(steps.inside))
    for name, inner in repeats.items():
        parts = own.get(name, ())
        if parts and reached[name] < inner.length:
            raise ScheduleError(f"the schedule solves {reached[name]} of {inner.length} steps of {name}")
        _check_parts(inner, parts)


def _check_parts(repeat: Repeat, parts: tuple[Part, ...]) -> None:
    """One method for all steps of a repeat, beside steps in order; some methods take all steps at once."""
    methods = [part for part in parts if isinstance(part, MethodNode)]
    kinds = sorted({method.kind for method in methods})
    if len(kinds) > 1:
        raise ScheduleError(f"{repeat.name} is solved by {' and '.join(kinds)}; take one method for all its steps")
    if len(parts) > 1 and methods and methods[0].takes_all:
        raise ScheduleError(f"{methods[0]} must be the whole of {repeat.name}[0:{repeat.length}]")
    if len({steps_of(part).inside for part in parts}) > 1:
        raise ScheduleError(f"the loops inside of {repeat.name} are solved in several ways; take one for all steps")
    if repeat.until is not None and parts and not (methods and STOPS in methods[0].requires):
        raise ScheduleError(f"{repeat.name} stops on a value; its steps run as while({repeat.name}) only")
    for method in methods:
        method.check(repeat)
        if isinstance(method, Iterative):
            _check_stop(repeat.name, method.stop)


def _check_stop(name: str, stop: Stop | None) -> None:
    if stop is None:
        return
    if not (math.isfinite(stop.atol) and math.isfinite(stop.rtol) and stop.atol >= 0 and stop.rtol >= 0):
        raise ScheduleError(f"{name} has atol={stop.atol}, rtol={stop.rtol}; tolerances are finite and not negative")
    if stop.max_sweeps is not None and stop.max_sweeps < 1:
        raise ScheduleError(f"{name} has max_sweeps={stop.max_sweeps}; allow one sweep or more")
