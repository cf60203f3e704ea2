"""Schedules as text: gs(block0, jacobi(cell[0:784]), block1).

    schedule = "gs" "(" [schedule {"," schedule}] ")" | "jacobi" "(" steps {"," option} ")" | name ["[" a ":" b "]"]
    steps    = name ["[" a ":" b [":" length] "]"]
    option   = ("atol" | "rtol" | "max_sweeps") "=" number

A name without a range is a block, or all steps of a repeat. `cell[a:b:length]` stands for a run of `jacobi` over
adjacent chunks of `length` steps, of which the last may be shorter.
"""

from collections.abc import Sequence

from fxsolve.scheduler.complete import complete
from fxsolve.scheduler.parse import parse
from fxsolve.scheduler.schedule import Apply, GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.solvers.stop import Stop
from fxsolve.system.spec import System


def to_text(schedule: Schedule) -> str:
    """Write `schedule` so that `parse_schedule` gives it back exactly."""
    match schedule:
        case Apply(block):
            return block
        case Steps(repeat, start, stop):
            return f"{repeat}[{start}:{stop}]"
        case Jacobi():
            return _jacobi_text((schedule,))
        case GaussSeidel(children):
            return f"gs({', '.join(_children_text(children))})"


def parse_schedule(text: str, system: System) -> Schedule:
    """Read a schedule, and complete it with the equations of `system` that it does not name, run sequentially.

    `gs` alone runs everything sequentially, `jacobi` alone sweeps every repeat. Raises `ScheduleError` that shows
    the position.
    """
    match text.strip():
        case "gs":
            return complete(GaussSeidel(()), system)
        case "jacobi":
            sweeps = tuple(Jacobi(Steps(repeat.name, 0, repeat.length)) for repeat in system.repeats)
            return complete(GaussSeidel(sweeps), system)
    return complete(parse(text, system), system)


def _children_text(children: Sequence[Schedule]) -> list[str]:
    texts = []
    rest = tuple(children)
    while rest:
        run = _leading_run(rest)
        texts.append(_jacobi_text(run) if run else to_text(rest[0]))
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
