"""Schedules: in which order the equations of a system are solved, as nested values; `str` gives their text form."""

from collections.abc import Sequence
from dataclasses import dataclass

from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Apply:
    """Evaluate one block."""

    block: str

    def __str__(self) -> str:
        return self.block


@dataclass(frozen=True)
class Steps:
    """Steps start <= t < stop of a repeat: the leaf that a method acts on."""

    repeat: str
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.repeat}[{self.start}:{self.stop}]"


@dataclass(frozen=True)
class GaussSeidel:
    """Solve the children in order, each with the newest values of those before it."""

    children: tuple["Schedule", ...]

    def __str__(self) -> str:
        return f"gs({', '.join(_children_text(self.children))})"


@dataclass(frozen=True)
class Jacobi:
    """Sweep all steps of the child at once from the previous sweep's values until `stop`."""

    child: Steps
    stop: Stop | None = None

    def __str__(self) -> str:
        return _jacobi_text((self,))


Schedule = Apply | Steps | GaussSeidel | Jacobi


def _children_text(children: Sequence[Schedule]) -> list[str]:
    texts = []
    rest = tuple(children)
    while rest:
        run = _leading_run(rest)
        texts.append(_jacobi_text(run) if run else str(rest[0]))
        rest = rest[max(len(run), 1) :]
    return texts


def _leading_run(children: tuple[Schedule, ...]) -> tuple[Jacobi, ...]:
    """The longest start of `children` that is one row of equal Jacobi chunks; empty if the first is no Jacobi."""
    run: list[Jacobi] = []
    for child in children:
        if not isinstance(child, Jacobi) or (run and not _continues(run, child)):
            break
        run.append(child)
    return tuple(run)


def _continues(run: list[Jacobi], child: Jacobi) -> bool:
    first, last = run[0].child, run[-1].child
    adjacent = child.child.repeat == last.repeat and child.child.start == last.stop and child.stop == run[0].stop
    return adjacent and _length(last) == _length(first) and 0 < _length(child.child) <= _length(first)


def _length(steps: Steps) -> int:
    return steps.stop - steps.start


def _jacobi_text(run: tuple[Jacobi, ...]) -> str:
    first, last = run[0].child, run[-1].child
    chunks = "" if len(run) == 1 else f":{_length(first)}"
    return f"jacobi({first.repeat}[{first.start}:{last.stop}{chunks}]{_stop_text(run[0].stop)})"


def _stop_text(stop: Stop | None) -> str:
    if stop is None:
        return ""
    sweeps = "" if stop.max_sweeps is None else f", max_sweeps={stop.max_sweeps}"
    return f", atol={_number(stop.atol)}, rtol={_number(stop.rtol)}{sweeps}"


def _number(value: float) -> str:
    return "0" if value == 0 else repr(value)
