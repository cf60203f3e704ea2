"""Scan: solve an affine recurrence at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.plan.method import Method, Part, Steps
from fxsolve.plan.proofs import AFFINE, CAUSAL, LINEAR, STATE, Fact
from fxsolve.plan.solver import Solver
from fxsolve.plan.windows import linearized
from fxsolve.rewrite.sums.fold import is_sum
from fxsolve.solvers.scan import scan
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Scan(Method):
    """Solve an affine recurrence at once by a scan over its maps."""

    name: ClassVar[str] = "scan"
    requires: ClassVar[tuple[Fact, ...]] = (CAUSAL, STATE, AFFINE, LINEAR)
    by_name: ClassVar[bool] = True

    child: Steps

    @property
    def takes_all(self) -> bool:
        return True

    @property
    def is_loose(self) -> bool:
        return True

    def exactly(self) -> Part | None:
        return None

    def check(self, repeat: Repeat) -> None:
        if is_sum(repeat):
            raise ScheduleError(f"{repeat.name} only adds up, which is no scan; write sum({self.child})")

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        return linearized(scan, repeat, [0, repeat.length], (), "full")
