"""Sums: a repeat that only adds up, as one sum over all steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import Block, Equation, Repeat
from fxsolve.plan.method import Method, Part, Steps, whole
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.proofs import TERMS, Fact
from fxsolve.plan.solver import RowSolver, Solver
from fxsolve.rewrite.sums.fold import fold_sums, is_sum
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Sum(Method):
    """acc_T = acc_0 + sum over t of v_t: all terms in one sweep, and one sum or one matrix product of them.

    Integers are exact; other sums differ by the rounding of additions in another order.
    """

    name: ClassVar[str] = "sum"
    requires: ClassVar[tuple[Fact, ...]] = (TERMS,)

    child: Steps

    @property
    def takes_all(self) -> bool:
        return True

    def check(self, repeat: Repeat) -> None:
        if not is_sum(repeat):
            raise ScheduleError(f"{self} needs steps that only add up; those of {repeat.name} do more")

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        return RowSolver(repeat, tuple(map(_lower_term, fold_sums(repeat))))


def _lower_term(equation: Equation) -> Block | Solver:
    if isinstance(equation, Block):
        return equation
    return Jacobi(whole(equation)).lower(equation, (Jacobi(whole(equation)),), Stop())
