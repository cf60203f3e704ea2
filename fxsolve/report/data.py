"""What a report says, as data: every number in it was measured or derived, and says which."""

from dataclasses import dataclass
from typing import Literal

from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.trace import Trace

Basis = Literal["measured", "derived", "not tried"]


@dataclass(frozen=True)
class CandidateReport:
    """One schedule that was weighed for a loop; `seconds` is one run of the whole loop."""

    schedule: str
    backend: str
    seconds: float | None
    basis: Basis
    reason: str


@dataclass(frozen=True)
class LoopReport:
    """One rolled loop: what was found, what one step and one sweep cost, and which schedules were weighed.

    `calls` counts the ops of one step, `reads` has one readable line per read, `causal` is "proved",
    "not shown: REASON", or empty where the question does not arise; `affine` says that each step is proved to be an
    affine function of what it carries, `jacobian` what form its Jacobian is proved to have (empty where the carry is no
    state of one step), `box` where its states are proved to lie. `backward` tells that the loop belongs to the backward
    pass of what stands at `source`. `basis` holds for both costs; `sweeps` is the number that the choice counted on.
    `outer` is the loop whose every step runs this one, if there is such a loop. `sums` tells that there is nothing to
    solve: what all steps add up is added up at once. `stops` is the value at `source` that stops a loop, whose
    `length` is then the most steps that were recorded. `carries` has the dtype and shape of what steps hand on.
    """

    name: str
    source: str
    length: int
    calls: int
    reads: tuple[str, ...]
    chosen: CandidateReport
    rejected: tuple[CandidateReport, ...] = ()
    depth: int | None = None
    causal: str = ""
    affine: bool = False
    jacobian: str = ""
    box: str = ""
    backward: bool = False
    step_seconds: float | None = None
    sweep_seconds: float | None = None
    sweeps: int | None = None
    basis: Basis = "measured"
    outer: str = ""
    sums: bool = False
    stops: bool | None = None
    carries: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockReport:
    """An equation of straight-line code: its level, the equations that it reads, and its measured seconds in order."""

    name: str
    level: int
    reads: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class SkipReport:
    """`target` reads `source`, `span` levels before it."""

    source: str
    target: str
    span: int


@dataclass(frozen=True)
class UnitsReport:
    """What the equations would take on so many units at once, each equation once: a list schedule, derived."""

    units: int
    seconds: float


@dataclass(frozen=True)
class StructureReport:
    """Straight-line code as equations, `depth` levels deep and at most `width` of one level; times are derived.

    `skips` reads go over more than one level. In order all take `sequential_seconds`, the longest chain takes
    `chain_seconds` and no number of units less; the slowest equation takes `slowest_seconds`, which is what a Jacobi
    sweep takes with one unit for each (the model of Song et al. 2021).
    """

    blocks: tuple[BlockReport, ...]
    depth: int
    width: int
    skips: int
    longest: SkipReport | None
    sequential_seconds: float
    chain_seconds: float
    slowest_seconds: float
    units: tuple[UnitsReport, ...] = ()


@dataclass(frozen=True)
class Check:
    """The emitted module against the recorded run."""

    max_difference: float
    bitwise: bool
    tolerance: float


@dataclass(frozen=True)
class SolveReport:
    """One solve in the last call: `prefix` leading steps are final, `change` is max |s_new - s_old|.

    `redrawn` is the number of steps whose discrete values were drawn anew by the sweeps behind a first pass, if any.
    """

    loop: str
    method: str
    sweeps: int
    length: int
    status: str
    change: float
    prefix: int
    redrawn: int | None = None


@dataclass(frozen=True)
class PlannedReport:
    """What was decided about calls of one kind, which `compile(schedule="report.json")` takes again.

    `graph` pairs each equation with a digest of what it computes. Where there is a `reason`, the program runs as it was
    written.
    """

    signature: str
    schedule: str
    tolerance: float | None
    reason: str
    graph: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReportData:
    """Everything that is known about one compiled program.

    `check` is about its outputs; `gradient_check` about its gradients, each relative to its largest entry and a tenth
    of that of all. `certificates` are of the solves in the same run, on the recorded inputs, its backward pass
    included; later calls leave them as they are. `traces` say what each sweep of that run changed. `runs` are the
    solves of the last call, followed by those of its backward pass once that has run. `stop` is the loosest relative
    tolerance that a recurrence is solved to, 0 where all run in order. `seconds` pairs each stage with the time spent
    in it; `original_seconds` and `emitted_seconds` are one call of each, measured. `structure` is there where
    straight-line code is the main thing. `plan` has what was decided about calls of every kind, this one and others.
    """

    program: str
    status: Literal["emitted", "left alone"]
    reason: str = ""
    signature: str = ""
    schedule: str = "original"
    loops: tuple[LoopReport, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0
    draws: int = 0
    guards: int = 0
    seconds: tuple[tuple[str, float], ...] = ()
    original_seconds: float | None = None
    emitted_seconds: float | None = None
    check: Check | None = None
    gradient_check: Check | None = None
    stop: float = 0.0
    runs: tuple[SolveReport, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    traces: tuple[Trace, ...] = ()
    structure: StructureReport | None = None
    plan: tuple[PlannedReport, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether all results and gradients of the emitted module were those of the recorded run, bit for bit."""
        checks = [one for one in (self.check, self.gradient_check) if one is not None]
        return bool(checks) and all(check.bitwise for check in checks)

    @property
    def pay_back(self) -> float | None:
        """After how many calls what they save makes up for all stages so far; None where they are not known to save."""
        if self.status != "emitted" or self.original_seconds is None or self.emitted_seconds is None:
            return None
        saving = self.original_seconds - self.emitted_seconds
        return sum(spent for _, spent in self.seconds) / saving if saving > 0 else None
