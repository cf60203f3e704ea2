"""Scan: solve an affine recurrence at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.plan.decision import Candidate
from fxsolve.plan.jacobians import SCAN_SECONDS, LinearWindow, count_steps, open_linear
from fxsolve.plan.method import Part, Steps, WholeMethod, whole
from fxsolve.plan.probe import least_seconds
from fxsolve.plan.proofs import AFFINE, CAUSAL, LINEAR, STATE, Requirement
from fxsolve.plan.schedule import text_of
from fxsolve.plan.solver import Solver
from fxsolve.plan.trial import Priced, Situation, Trial, Weighed, ruled_out
from fxsolve.plan.windows import linearized
from fxsolve.rewrite.sums.fold import is_sum
from fxsolve.solvers import scan as scan_solver
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Scan(WholeMethod, Priced):
    """Solve an affine recurrence s_t = A_t s_{t-1} + b_t at once by a scan over its maps, A_t (n, n).

    Blelloch, "Prefix sums and their applications", 1990. Exact up to rounding, so no form of it is exact to the bit.
    """

    name: ClassVar[str] = "scan"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, STATE, AFFINE, LINEAR)
    by_name: ClassVar[bool] = True

    child: Steps

    @property
    def is_loose(self) -> bool:
        return True

    def exactly(self) -> Part | None:
        return None

    def check(self, repeat: Repeat) -> None:
        if is_sum(repeat):
            raise ScheduleError(f"{repeat.name} only adds up, which is no scan; write sum({self.child})")

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        if not situation.proofs.facts.affine or is_sum(situation.repeat):
            return []
        parts = (cls(whole(situation.repeat)),)
        try:
            opened = open_linear(situation, weighed, situation.repeat.length, SCAN_SECONDS)
        except PartitionError as error:
            return [ruled_out(parts, str(error))]
        return [_measured(opened, parts, weighed.step)]

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        return linearized(scan_solver.scan, repeat, [0, repeat.length], (), "full")


def _measured(opened: LinearWindow, parts: tuple[Part, ...], step: float) -> Trial:
    window, method = opened.window, scan_solver.ScanSolver(opened.linear, opened.layout)
    count = count_steps(method, method.init(window), window.length)
    if count is None:
        reason = f"the products of {window.length} maps are not within rounding of the steps"
        return Trial(Candidate(text_of(parts), "eager", None, "measured", reason), parts, None)
    seconds = least_seconds(lambda: method.init(window)) * count
    reason = f"a step is affine: one scan at the cost of {seconds / step:.3g} steps"
    return Trial(Candidate(text_of(parts), "eager", seconds, "measured", reason), parts, count)
