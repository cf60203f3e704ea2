"""Newton: linearize all steps, solve the linear recurrence by a scan, and repeat."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.plan.decision import Candidate
from fxsolve.plan.facts import find_facts
from fxsolve.plan.jacobians import count_steps, longest_window, open_linear
from fxsolve.plan.method import Iterative, Option, Part, Steps
from fxsolve.plan.probe import least_seconds
from fxsolve.plan.proofs import CAUSAL, LINEAR, STATE, Requirement
from fxsolve.plan.schedule import text_of
from fxsolve.plan.solver import Solver
from fxsolve.plan.trial import Priced, Situation, Trial, Weighed, ruled_out
from fxsolve.plan.windows import linearized, short, strictest, window_bounds
from fxsolve.solvers import newton as newton_solver
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Window


@dataclass(frozen=True)
class Newton(Iterative, Priced):
    """Linearize all steps at once, solve the linear recurrence by a scan, and repeat until `stop`.

    S <- F(S + d) with d_t = J_t d_{t-1} + F(S)_t - S_t, J_t (n, n) the Jacobian of step t or its diagonal: DEER, ICLR
    2024 (arXiv 2309.12252), and arXiv 2407.19115 for the diagonal.
    """

    name: ClassVar[str] = "newton"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, STATE, LINEAR)
    options: ClassVar[tuple[Option, ...]] = (Option("jacobian", lambda reader: reader.word("full", "diagonal")),)
    by_name: ClassVar[bool] = True

    child: Steps
    jacobian: Literal["full", "diagonal"] = "full"
    stop: Stop | None = None

    @property
    def kind(self) -> str:
        return f"newton with a {self.jacobian} Jacobian"

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        if situation.proofs.facts.affine:
            return []
        repeat, length = situation.repeat, longest_window(situation)
        starts = range(0, repeat.length, length)
        parts = tuple(cls(Steps(repeat.name, low, min(low + length, repeat.length))) for low in starts)
        try:
            opened = open_linear(situation, weighed, length)
        except PartitionError as error:
            return [ruled_out(parts, str(error))]
        method = newton_solver.NewtonSolver(opened.linear, opened.layout, situation.proofs.facts.limits, situation.stop)
        return [_measured(method, opened.window, parts, weighed.step)]

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        bounds = window_bounds(parts)
        options = (*strictest(repeat, parts, stop), short(bounds), find_facts(repeat).limits)
        return linearized(newton_solver.newton, repeat, bounds, options, self.jacobian)


def _measured(method: newton_solver.NewtonSolver, window: Window, parts: tuple[Newton, ...], step: float) -> Trial:
    length = window.length
    first = method.init(window)
    cost = least_seconds(lambda: method.step(first))
    limit = int(step * length / cost)
    count = count_steps(method, first, min(limit, length))
    if count is None:
        tried = f"and {limit} of them did not converge" if limit else f"more than all {length} in order"
        reason = f"a Newton step costs {cost / step:.3g} steps, {tried}"
        return Trial(Candidate(text_of(parts), "eager", None, "measured", reason), parts, None)
    if limit < length:
        # As for Jacobi, Newton steps that cost as much as all steps in order have had their chance.
        test = replace(method.stop, max_sweeps=limit)
        parts = tuple(replace(part, stop=test) for part in parts)
    reason = f"{count} Newton steps, each at the cost of {cost / step:.3g} steps, for every {length} steps"
    return Trial(Candidate(text_of(parts), "eager", cost * count * len(parts), "derived", reason), parts, count)
