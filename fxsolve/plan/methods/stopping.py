"""While: steps in order until one reads the value that stops them, as the program runs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.stopping import stopping
from fxsolve.plan.method import MethodNode, Part, Steps
from fxsolve.plan.proofs import STOPS, Requirement
from fxsolve.plan.solver import LoopSolver, Solver
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class While(MethodNode):
    """x <- f(x) until c(x) is the value that stops the loop; at most `child.stop` steps of it were recorded.

    The number of steps is that of the program, and so are the values, bit for bit.
    """

    name: ClassVar[str] = "while"
    requires: ClassVar[tuple[Requirement, ...]] = (STOPS,)
    in_order: ClassVar[bool] = True

    child: Steps

    @property
    def takes_all(self) -> bool:
        return True

    @property
    def over(self) -> str:
        return str(self.child).replace(f"[{self.child.start}:{self.child.stop}]", "", 1)

    def check(self, repeat: Repeat) -> None:
        if repeat.until is None:
            raise ScheduleError(f"{repeat.name} stops on no value; write {self.child}")

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        call = stopping(repeat)
        return LoopSolver(repeat, call.solver, call.loop, arguments=lambda _, values: call.arguments(values))
