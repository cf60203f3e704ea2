"""Schedules: in which order the equations of a system are solved, as nested values; `str` gives their text form."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fxsolve.plan.method import MethodNode, Part, Steps, children_text, steps_of, with_steps


@dataclass(frozen=True)
class Apply:
    """Evaluate one block."""

    block: str

    def __str__(self) -> str:
        return self.block


@dataclass(frozen=True)
class GaussSeidel:
    """Solve the children in order, each with the newest values of those before it."""

    children: tuple["Schedule", ...]

    def __str__(self) -> str:
        return f"gs({', '.join(children_text(self.children))})"


Schedule = Apply | Part | GaussSeidel


def leaves(schedule: Schedule) -> Iterator[Apply | Part]:
    """The leaves in the order in which they run."""
    if isinstance(schedule, GaussSeidel):
        for child in schedule.children:
            yield from leaves(child)
    else:
        yield schedule


def all_leaves(schedule: Schedule) -> Iterator[Apply | Part]:
    """As `leaves`, with those of the loops inside of steps behind the steps."""
    for leaf in leaves(schedule):
        yield leaf
        for child in () if isinstance(leaf, Apply) else steps_of(leaf).inside:
            yield from all_leaves(child)


def is_iterative(schedule: Schedule) -> bool:
    """Whether steps see values, on the way, that they do not have in the end."""
    return any(isinstance(leaf, MethodNode) and leaf.guesses for leaf in all_leaves(schedule))


def runs_in_order(leaf: Apply | Part) -> bool:
    """Whether a leaf runs what the program runs, one step after another."""
    return not isinstance(leaf, MethodNode) or leaf.in_order


def name_of(leaf: Apply | Part) -> str:
    """The equation that a leaf solves, or steps of it."""
    return leaf.block if isinstance(leaf, Apply) else steps_of(leaf).repeat


def parts_of(schedule: Schedule, repeat: str) -> tuple[Part, ...]:
    """The leaves that solve a repeat, in order; none where it runs in order inside the steps of another."""
    match schedule:
        case GaussSeidel(children):
            return tuple(part for child in children for part in parts_of(child, repeat))
        case Apply():
            return ()
    steps = steps_of(schedule)
    if steps.repeat == repeat:
        return (schedule,)
    return tuple(part for child in steps.inside for part in parts_of(child, repeat))


def text_of(parts: tuple[Part, ...]) -> str:
    """The parts of one loop as a schedule."""
    return str(parts[0] if len(parts) == 1 else GaussSeidel(parts))


def map_parts(schedule: Schedule, change: Callable[[Part], Part | None]) -> Schedule:
    """The schedule with other leaves for repeats, those of loops inside of steps too; None leaves one out."""
    return _mapped(schedule, change) or GaussSeidel(())


def _mapped(schedule: Schedule, change: Callable[[Part], Part | None]) -> Schedule | None:
    match schedule:
        case GaussSeidel(children):
            return GaussSeidel(tuple(_all_mapped(children, change)))
        case Apply():
            return schedule
    changed = change(schedule)
    if changed is not schedule or not steps_of(schedule).inside:
        return changed
    steps = steps_of(schedule)
    steps = replace(steps, inside=tuple(_all_mapped(steps.inside, change)))
    return steps if isinstance(schedule, Steps) else with_steps(schedule, steps)


def _all_mapped(children: Sequence[Schedule], change: Callable[[Part], Part | None]) -> Iterator[Schedule]:
    return (new for child in children if (new := _mapped(child, change)) is not None)
