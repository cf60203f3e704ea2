"""Schedules: in which order the equations of a system are solved, as nested values; `str` gives their text form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Apply:
    """Evaluate one block."""

    block: str

    def __str__(self) -> str:
        return self.block


@dataclass(frozen=True)
class Steps:
    """Steps start <= t < stop of a repeat: the leaf that a method acts on.

    `inside` says how repeats inside a step are solved; those that it does not name run in order.
    """

    repeat: str
    start: int
    stop: int
    inside: tuple["Schedule", ...] = ()

    def __str__(self) -> str:
        inside = f"({', '.join(_children_text(self.inside))})" if self.inside else ""
        return f"{self.repeat}[{self.start}:{self.stop}]{inside}"


@dataclass(frozen=True)
class Chunks:
    """Steps of a repeat in chunks of `length`, the last one maybe shorter, each run in order."""

    steps: Steps
    length: int

    def __str__(self) -> str:
        return f"gs({self.steps.repeat}[{self.steps.start}:{self.steps.stop}:{self.length}])"


@dataclass(frozen=True)
class GaussSeidel:
    """Solve the children in order, each with the newest values of those before it."""

    children: tuple["Schedule", ...]

    def __str__(self) -> str:
        return f"gs({', '.join(_children_text(self.children))})"


@dataclass(frozen=True)
class Jacobi:
    """Sweep all steps, or chunks of steps, at once from the previous sweep's values until `stop`.

    With a `window`, the next so many unsolved steps only: it slides behind the steps that have settled. With `samples`,
    falling sizes of a batch, the samples that have not settled are gathered into smaller batches.
    """

    child: Steps | Chunks
    stop: Stop | None = None
    window: int | None = None
    samples: tuple[int, ...] = ()

    def __str__(self) -> str:
        return _method_text((self,))


@dataclass(frozen=True)
class Newton:
    """Linearize all steps at once, solve the linear recurrence by a scan, and repeat until `stop`."""

    child: Steps
    jacobian: Literal["full", "diagonal"] = "full"
    stop: Stop | None = None

    def __str__(self) -> str:
        return _method_text((self,))


@dataclass(frozen=True)
class Picard:
    """Newton with the identity in place of the Jacobian: sum the increments of all steps, until `stop`."""

    child: Steps
    stop: Stop | None = None

    def __str__(self) -> str:
        return _method_text((self,))


@dataclass(frozen=True)
class Scan:
    """Solve an affine recurrence at once by a scan over its maps."""

    child: Steps

    def __str__(self) -> str:
        return _method_text((self,))


@dataclass(frozen=True)
class Levels:
    """As many sweeps as the longest chain of steps that read one another, without any test."""

    child: Steps

    def __str__(self) -> str:
        return _method_text((self,))


Method = Jacobi | Newton | Picard | Scan | Levels
Part = Steps | Method
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
    return any(isinstance(leaf, Jacobi | Newton | Picard | Levels) for leaf in all_leaves(schedule))


def steps_of(part: Part) -> Steps:
    """The steps that a leaf solves."""
    child = part if isinstance(part, Steps) else part.child
    return child.steps if isinstance(child, Chunks) else child


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


# Text.


def _children_text(children: Sequence[Schedule]) -> list[str]:
    texts = []
    rest = tuple(children)
    while rest:
        run = _leading_run(rest)
        texts.append(_method_text(run) if run else str(rest[0]))
        rest = rest[max(len(run), 1) :]
    return texts


def _leading_run(children: tuple[Schedule, ...]) -> tuple[Method, ...]:
    """The longest start of `children` that is one row of a method over equal chunks; empty if the first is none."""
    run: list[Method] = []
    for child in children:
        if not isinstance(child, Method) or (run and not _continues(run, child)):
            break
        run.append(child)
    return tuple(run)


def _continues(run: list[Method], child: Method) -> bool:
    if isinstance(child.child, Chunks) or replace(child, child=run[0].child) != run[0]:
        return False
    first, last, steps = steps_of(run[0]), steps_of(run[-1]), child.child
    adjacent = steps.repeat == last.repeat and steps.start == last.stop
    return adjacent and _length(last) == _length(first) and 0 < _length(steps) <= _length(first)


def _length(steps: Steps) -> int:
    return steps.stop - steps.start


def _method_text(run: tuple[Method, ...]) -> str:
    first, last = run[0], run[-1]
    steps = steps_of(first)
    over = str(first.child)
    if len(run) > 1:
        over = f"{steps.repeat}[{steps.start}:{steps_of(last).stop}:{_length(steps)}]"
    return f"{type(first).__name__.lower()}({over}{_options_text(first)})"


def _options_text(method: Method) -> str:
    match method:
        case Jacobi(_, stop, window, samples):
            sizes = f", samples={':'.join(map(str, samples))}" if samples else ""
            return ("" if window is None else f", window={window}") + sizes + _stop_text(stop)
        case Newton(_, jacobian, stop):
            return ("" if jacobian == "full" else f", jacobian={jacobian}") + _stop_text(stop)
        case Picard(_, stop):
            return _stop_text(stop)
    return ""


def _stop_text(stop: Stop | None) -> str:
    if stop is None:
        return ""
    sweeps = "" if stop.max_sweeps is None else f", max_sweeps={stop.max_sweeps}"
    return f", atol={_number(stop.atol)}, rtol={_number(stop.rtol)}{sweeps}"


def _number(value: float) -> str:
    return "0" if value == 0 else repr(value)
