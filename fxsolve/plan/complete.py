"""Schedules that name only some equations, completed with the others."""

from collections.abc import Iterator
from dataclasses import replace

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.reads import is_autonomous
from fxsolve.ir.spec import Block, Equation, Repeat, System
from fxsolve.plan.method import MethodNode, Part, steps_of, whole
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.stopping import While
from fxsolve.plan.schedule import Apply, BlockMethod, GaussSeidel, Schedule


def complete(schedule: Schedule, system: System) -> Schedule:
    """Add the equations that `schedule` does not name, in system order, sequentially.

    A missing equation comes directly before the first named equation that follows it in the system.
    """
    named = set(names(schedule))
    missing = [equation for equation in system.equations if equation.name not in named]
    if not missing:
        return schedule
    order = {equation.name: number for number, equation in enumerate(system.equations)}
    children = schedule.children if isinstance(schedule, GaussSeidel) else (schedule,)
    completed = [item for child in children for item in _put_in(child, missing, order)]
    return GaussSeidel((*completed, *map(sequential, missing)))


def sequential(equation: Equation) -> Schedule:
    """One equation, run in order."""
    return Apply(equation.name) if isinstance(equation, Block) else in_order(equation)


def in_order(repeat: Repeat) -> Part:
    """All steps of a repeat in order; loops inside of them are named where they may end before their last step."""
    inside = (in_order(inner) for inner in loops_inside(repeat))
    return in_order_around(repeat, tuple(part for part in inside if isinstance(part, MethodNode) or part.inside))


def in_order_around(repeat: Repeat, inside: tuple[Schedule, ...]) -> Part:
    """All steps of a repeat in order, with the loops inside of them solved so."""
    steps = replace(whole(repeat), inside=inside)
    if repeat.until is not None:
        return While(steps)
    return FixedPoint(steps) if is_autonomous(repeat) else steps


def names(schedule: Schedule) -> Iterator[str]:
    """The equations that a schedule names, in its order, as often as it names them."""
    match schedule:
        case Apply(name):
            yield name
        case GaussSeidel(children) | BlockMethod(children):
            for child in children:
                yield from names(child)
        case _:
            yield steps_of(schedule).repeat


def _put_in(schedule: Schedule, missing: list[Equation], order: dict[str, int]) -> Iterator[Schedule]:
    """`schedule`, after the missing equations that precede it; these are removed from `missing`."""
    if isinstance(schedule, GaussSeidel):
        yield GaussSeidel(tuple(item for child in schedule.children for item in _put_in(child, missing, order)))
        return
    first = next(names(schedule))
    while missing and order[missing[0].name] < order[first]:
        yield sequential(missing.pop(0))
    yield schedule
