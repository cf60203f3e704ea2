"""Levels: as many sweeps as steps are deep, without any test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.depth import dependency_depth, longest_chain
from fxsolve.plan.method import MethodNode, Option, Part, Steps, WholeMethod
from fxsolve.plan.proofs import BATCHED, CAUSAL, Proofs, Requirement
from fxsolve.plan.solver import LoopSolver, Solver
from fxsolve.solvers.levels import levels
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Levels(WholeMethod):
    """As many sweeps as the longest chain of steps that read one another, without any test.

    S <- F(S), `depth` times; without a `depth`, as often as the reads alone allow chains to be long.
    """

    name: ClassVar[str] = "levels"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, BATCHED)
    options: ClassVar[tuple[Option, ...]] = (Option("depth", lambda reader: reader.count("level")),)
    by_name: ClassVar[bool] = True
    guesses: ClassVar[bool] = True

    child: Steps
    depth: int | None = None

    def check(self, repeat: Repeat) -> None:
        if self.depth is not None and self.depth < 1:
            raise ScheduleError(f"{self} has a depth of {self.depth}; every step has a level of 1 or more")

    def settle(self, proofs: Proofs) -> MethodNode:
        depth = dependency_depth(proofs.repeat, proofs.structural)
        if self.depth is not None and self.depth < depth:
            raise PartitionError(f"{self.depth} sweeps are fewer than the {depth} steps that may read one another")
        return replace(self, depth=self.depth or depth)

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        depth = self.depth or longest_chain(repeat)
        return LoopSolver(repeat, levels, sweep_loop(repeat, [0, repeat.length]), (depth,))
