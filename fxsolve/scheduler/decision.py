"""What the scheduler decided for each loop, and why."""

from dataclasses import dataclass, field
from typing import Literal

from fxsolve.scheduler.schedule import Schedule

Basis = Literal["measured", "derived", "not tried"]


@dataclass(frozen=True)
class Candidate:
    """One way to solve a loop; `seconds` is one solve of the whole loop, None where it was ruled out unmeasured."""

    schedule: str
    backend: str
    seconds: float | None
    basis: Basis
    reason: str


@dataclass(frozen=True)
class Choice:
    """The decision for one repeat, with the facts it rests on.

    `parts` are the schedule's leaves for the repeat; `unroll` steps are compiled into one call (0: none).
    """

    repeat: str
    parts: tuple[Schedule, ...]
    chosen: Candidate
    rejected: tuple[Candidate, ...] = ()
    unroll: int = 0
    causal: str = ""
    step_seconds: float | None = None
    sweep_seconds: float | None = None
    sweeps: int | None = None


@dataclass(frozen=True)
class Decision:
    """A schedule for a whole system; `sequential_seconds` is what the loops cost when run step by step."""

    schedule: Schedule
    choices: tuple[Choice, ...] = ()
    fused: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sequential_seconds: float | None = None
