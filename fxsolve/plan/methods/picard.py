"""Picard: sum the increments of all steps, and repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.ir.spec import Repeat
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.method import Iterative, Part, Steps
from fxsolve.plan.proofs import BATCHED, CAUSAL, Requirement
from fxsolve.plan.solver import LoopSolver, Solver
from fxsolve.plan.windows import short, strictest, window_bounds
from fxsolve.solvers.picard import picard
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Picard(Iterative):
    """Newton with the identity in place of the Jacobian: sum the increments of all steps, until `stop`.

    S <- S + cumsum(F(S) - S); Shih et al., NeurIPS 2023 (arXiv 2305.16317), section 3.
    """

    name: ClassVar[str] = "picard"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, BATCHED)
    by_name: ClassVar[bool] = True

    child: Steps
    stop: Stop | None = None

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        bounds = window_bounds(parts)
        return LoopSolver(repeat, picard, sweep_loop(repeat, bounds), (*strictest(repeat, parts, stop), short(bounds)))
