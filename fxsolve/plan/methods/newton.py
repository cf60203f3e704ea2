"""Newton: linearize all steps, solve the linear recurrence by a scan, and repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from fxsolve.ir.spec import Repeat
from fxsolve.plan.facts import find_facts
from fxsolve.plan.method import Iterative, Option, Part, Steps
from fxsolve.plan.proofs import CAUSAL, LINEAR, STATE, Fact
from fxsolve.plan.solver import Solver
from fxsolve.plan.windows import linearized, short, strictest, window_bounds
from fxsolve.solvers.newton import newton
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Newton(Iterative):
    """Linearize all steps at once, solve the linear recurrence by a scan, and repeat until `stop`."""

    name: ClassVar[str] = "newton"
    requires: ClassVar[tuple[Fact, ...]] = (CAUSAL, STATE, LINEAR)
    options: ClassVar[tuple[Option, ...]] = (Option("jacobian", lambda reader: reader.word("full", "diagonal")),)
    by_name: ClassVar[bool] = True

    child: Steps
    jacobian: Literal["full", "diagonal"] = "full"
    stop: Stop | None = None

    @property
    def kind(self) -> str:
        return f"newton with a {self.jacobian} Jacobian"

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        bounds = window_bounds(parts)
        options = (*strictest(repeat, parts, stop), short(bounds), find_facts(repeat).limits)
        return linearized(newton, repeat, bounds, options, self.jacobian)
