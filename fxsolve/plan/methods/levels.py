"""Levels: as many sweeps as steps are deep, without any test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.ir.spec import Repeat
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.call import SolverCall
from fxsolve.plan.method import Method, Part, Steps
from fxsolve.solvers.levels import levels
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Levels(Method):
    """As many sweeps as the longest chain of steps that read one another, without any test."""

    name: ClassVar[str] = "levels"
    by_name: ClassVar[bool] = True
    guesses: ClassVar[bool] = True

    child: Steps

    @property
    def takes_all(self) -> bool:
        return True

    def lower(self, repeat: Repeat, parts: Sequence[Part], default: Stop, depth: int) -> SolverCall:
        return SolverCall(levels, sweep_loop(repeat, [0, repeat.length]), (depth,))
