"""Scan: solve an affine recurrence at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.ir.spec import Repeat
from fxsolve.plan.call import SolverCall
from fxsolve.plan.method import Method, Part, Steps
from fxsolve.plan.windows import linearized
from fxsolve.solvers.scan import scan
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Scan(Method):
    """Solve an affine recurrence at once by a scan over its maps."""

    name: ClassVar[str] = "scan"
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

    def lower(self, repeat: Repeat, parts: Sequence[Part], default: Stop, depth: int) -> SolverCall:
        return linearized(scan, repeat, [0, repeat.length], (), "full")
