"""Schedules as text: gs(block0, jacobi(cell[0:784]), block1).

    schedule = "gs" "(" [schedule {"," schedule}] ")" | "jacobi" "(" steps {"," option} ")" | name ["[" a ":" b "]"]
    steps    = name ["[" a ":" b [":" length] "]"]
    option   = ("atol" | "rtol" | "max_sweeps") "=" number

A name without a range is a block, or all steps of a repeat. `cell[a:b:length]` stands for a run of `jacobi` over
adjacent chunks of `length` steps, of which the last may be shorter.
"""

from fxsolve.scheduler.complete import complete
from fxsolve.scheduler.parse import parse
from fxsolve.scheduler.schedule import GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.system.spec import System


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
