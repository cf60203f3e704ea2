"""Fixed point: steps that are all one map of the step before, in order, until one changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fxsolve.errors import ScheduleError
from fxsolve.ir.reads import is_autonomous
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import Values, step_arguments
from fxsolve.lower.lower import step_loop
from fxsolve.plan.method import Part, Steps, WholeMethod
from fxsolve.plan.proofs import SAME_MAP, Requirement
from fxsolve.plan.solver import LoopSolver, Solver
from fxsolve.solvers.fixed_point import fixed_point
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class FixedPoint(WholeMethod):
    """x <- f(x), in order, at most T times: behind a step that changes no bit, each later one would change none.

    The result is that of all T steps, bit for bit.
    """

    name: ClassVar[str] = "fixed_point"
    requires: ClassVar[tuple[Requirement, ...]] = (SAME_MAP,)
    in_order: ClassVar[bool] = True

    child: Steps

    def check(self, repeat: Repeat) -> None:
        if not is_autonomous(repeat):
            raise ScheduleError(f"{self} needs steps that are all the same map of the step before; write {self.child}")

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        return LoopSolver(repeat, fixed_point, step_loop(repeat), arguments=_carried_and_shared)


def _carried_and_shared(repeat: Repeat, values: Values) -> tuple[Any, ...]:
    arguments = step_arguments(repeat, values)
    return arguments.initial, arguments.shared
