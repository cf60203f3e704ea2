"""What the user sets for a compilation, and what comes of it for one signature."""

from collections.abc import Callable
from dataclasses import dataclass

from fxsolve.ir.spec import System
from fxsolve.loops.stopping.counts import Folded
from fxsolve.plan.budget import Budget
from fxsolve.plan.decision import Decision
from fxsolve.plan.purse import Purse
from fxsolve.report.report import Report
from fxsolve.runtime.declaration import Shapes
from fxsolve.runtime.family import Member
from fxsolve.runtime.plans import SavedPlan
from fxsolve.runtime.prospect import Prospect
from fxsolve.runtime.ready import Ready
from fxsolve.runtime.sources import Decided


@dataclass(frozen=True)
class Options:
    """What the user of `compile` may set."""

    schedule: str | SavedPlan = "auto"
    backend: str = "inductor"
    tolerance: float | None = None
    verify: str | int = "first"
    max_entries: int = 16
    dynamic_shapes: Shapes = None
    mode: str = "default"
    on_left_alone: str = "warn"

    @property
    def is_automatic(self) -> bool:
        """Whether the schedule is for fxsolve to choose."""
        return self.schedule == "auto"


@dataclass(frozen=True)
class Costs:
    """`purse` makes what pays for compiling steps; `reading` are seconds of a call that the original does not take."""

    purse: Callable[[], Purse] = Budget
    reading: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """The program could not be recorded; `wrote` says whether the call changed values of its own tensors."""

    wrote: bool


@dataclass(frozen=True)
class Entry:
    """The module of one signature, or None where the original runs; and the decision behind it.

    `has_communicated` tells that its recording ended because the program communicates with other processes, and
    `is_undecided` that no loop was found, but that there may be one where the program reads other values. `folded` is
    kept of a program with loops that stop on a value, and `prospect` of one that compiled steps may make faster. Where
    it `is_close` which form is faster, calls decide, and where they `may_decide`, they do so again later. `system` is
    there wherever loops were looked for, and `settled` where it was decided how to solve them; where that was
    `by_sweeps`, to leave the program alone is right for so many seconds of calls as it `holds`.
    """

    report: Report
    ready: Ready | None = None
    decision: Decision | None = None
    member: Member | None = None
    has_communicated: bool = False
    refusal: Refusal | None = None
    is_undecided: bool = False
    folded: Folded | None = None
    prospect: Prospect | None = None
    is_close: bool = False
    may_decide: bool = False
    system: System | None = None
    settled: Decided | None = None
    by_sweeps: bool = False
    holds: float | None = None
