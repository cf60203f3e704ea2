"""Schedules: in which order the equations of a system are solved, as nested values; `str` gives their text form."""

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import ClassVar

from fxsolve.plan.block_names import name_runs
from fxsolve.plan.method import MethodNode, Part, Steps, children_text, steps_of, stop_text, with_steps
from fxsolve.solvers.stop import Stop


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
        return f"gs({_text(self.children)})"

    @property
    def is_row(self) -> bool:
        """Whether it is a row of blocks alone."""
        return len(self.children) > 0 and all(isinstance(child, Apply) for child in self.children)


@dataclass(frozen=True)
class BlockMethod(ABC):
    """How blocks are solved that read one another; a row of them in `gs` counts as one equation.

    The children stand in an order in which each reads only what was solved before it.
    """

    name: ClassVar[str]
    children: tuple["Apply | GaussSeidel", ...]

    def __str__(self) -> str:
        return f"{self.name}({_text(self.children)})"


@dataclass(frozen=True)
class JacobiBlocks(BlockMethod):
    """Sweep all of them at once until `stop`, at most as often as they are deep; bit for bit where it is None."""

    name: ClassVar[str] = "jacobi"
    stop: Stop | None = None

    def __str__(self) -> str:
        return f"{self.name}({_text(self.children)}{stop_text(self.stop)})"


@dataclass(frozen=True)
class LevelsBlocks(BlockMethod):
    """Each once, level by level: those of one level could run at the same time."""

    name: ClassVar[str] = "levels"


BLOCK_METHODS: tuple[type[BlockMethod], ...] = (JacobiBlocks, LevelsBlocks)
Schedule = Apply | Part | GaussSeidel | BlockMethod


def _text(children: Sequence["Schedule"]) -> str:
    """The children in a row, with runs of blocks that are numbered as their ends."""
    texts: list[str] = []
    for is_apply, run in groupby(children, lambda child: isinstance(child, Apply)):
        row = list(run)
        texts += name_runs([str(child) for child in row]) if is_apply else children_text(row)
    return ", ".join(texts)


def leaves(schedule: Schedule) -> Iterator[Apply | Part]:
    """The leaves in the order in which they run."""
    if isinstance(schedule, GaussSeidel | BlockMethod):
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
    swept = any(isinstance(one, JacobiBlocks) for one in block_methods(schedule))
    return swept or any(isinstance(leaf, MethodNode) and leaf.guesses for leaf in all_leaves(schedule))


def block_methods(schedule: Schedule) -> Iterator[BlockMethod]:
    """The methods over blocks in a schedule, in order."""
    match schedule:
        case BlockMethod():
            yield schedule
        case GaussSeidel(children):
            for child in children:
                yield from block_methods(child)


def map_block_methods(schedule: Schedule, change: Callable[[BlockMethod], Schedule]) -> Schedule:
    """The schedule with other schedules for methods over blocks."""
    match schedule:
        case BlockMethod():
            return change(schedule)
        case GaussSeidel(children):
            return GaussSeidel(tuple(map_block_methods(child, change) for child in children))
    return schedule


def runs_in_order(leaf: Apply | Part) -> bool:
    """Whether a leaf runs what the program runs, one step after another."""
    return not isinstance(leaf, MethodNode) or leaf.in_order


def name_of(leaf: Apply | Part) -> str:
    """The equation that a leaf solves, or steps of it."""
    return leaf.block if isinstance(leaf, Apply) else steps_of(leaf).repeat


def parts_of(schedule: Schedule, repeat: str) -> tuple[Part, ...]:
    """The leaves that solve a repeat, in order; none where it runs in order inside the steps of another."""
    return parts_by_repeat(schedule).get(repeat, ())


def parts_by_repeat(schedule: Schedule) -> Mapping[str, tuple[Part, ...]]:
    """`parts_of` for every repeat that has any."""
    found: dict[str, list[Part]] = {}
    for leaf in all_leaves(schedule):
        if not isinstance(leaf, Apply):
            found.setdefault(steps_of(leaf).repeat, []).append(leaf)
    return {repeat: tuple(parts) for repeat, parts in found.items()}


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
        case Apply() | BlockMethod():
            return schedule
    changed = change(schedule)
    if changed is not schedule or not steps_of(schedule).inside:
        return changed
    steps = steps_of(schedule)
    steps = replace(steps, inside=tuple(_all_mapped(steps.inside, change)))
    return steps if isinstance(schedule, Steps) else with_steps(schedule, steps)


def _all_mapped(children: Sequence[Schedule], change: Callable[[Part], Part | None]) -> Iterator[Schedule]:
    return (new for child in children if (new := _mapped(child, change)) is not None)
