"""Sums: a repeat that only adds up, as one sum over all steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Block, Equation, Repeat
from fxsolve.plan.decision import Candidate
from fxsolve.plan.lower import lower
from fxsolve.plan.method import Part, Steps, WholeMethod, whole
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.probe import least_seconds
from fxsolve.plan.proofs import TERMS, Requirement
from fxsolve.plan.schedule import text_of
from fxsolve.plan.solver import RowSolver, Solver
from fxsolve.plan.trial import Priced, Situation, Trial, Weighed, ruled_out, step_bytes
from fxsolve.rewrite.sums.fold import fold_sums, is_sum
from fxsolve.solvers.stop import Stop

_EXACT = Stop()
_MOST_BYTES = 2 << 30


@dataclass(frozen=True)
class Sum(WholeMethod, Priced):
    """acc_T = acc_0 + sum over t of v_t: all terms in one sweep, and one sum or one matrix product of them.

    Integers are exact; other sums differ by the rounding of additions in another order.
    """

    name: ClassVar[str] = "sum"
    requires: ClassVar[tuple[Requirement, ...]] = (TERMS,)

    child: Steps

    def check(self, repeat: Repeat) -> None:
        if not is_sum(repeat):
            raise ScheduleError(f"{self} needs steps that only add up; those of {repeat.name} do more")

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        repeat = situation.repeat
        if not situation.proofs.adds_up:
            return []
        parts = (cls(whole(repeat)),)
        if not may_reorder(repeat, situation.stop):
            return [ruled_out(parts, "bitwise equality is asked for")]
        try:
            seconds = least_seconds(_small_enough(lower(repeat, parts)).bind(situation.values))
        except PartitionError as error:
            return [ruled_out(parts, str(error))]
        reason = "only the last sum is read: all terms at once, added up in another order"
        return [Trial(Candidate(text_of(parts), "eager", seconds, "measured", reason), parts, 1)]

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        return RowSolver(repeat, tuple(map(_lower_term, fold_sums(repeat))))


def _lower_term(equation: Equation) -> Block | Solver:
    if isinstance(equation, Block):
        return equation
    return Jacobi(whole(equation)).lower(equation, (Jacobi(whole(equation)),), Stop())


def _small_enough(solver: Solver) -> Solver:
    """The solver. Raises `PartitionError` if the terms of all steps hold too much memory."""
    for item in solver.row if isinstance(solver, RowSolver) else ():
        if isinstance(item, Solver) and item.repeat.length * step_bytes(item.repeat) > _MOST_BYTES:
            raise PartitionError(
                f"the terms of all steps of {solver.repeat.name} hold more than {_MOST_BYTES >> 30} GiB"
            )
    return solver


def may_reorder(repeat: Repeat, stop: Stop) -> bool:
    """Whether `stop` allows what a repeat adds up to be added up in another order."""
    return all(_is_allowed(dtype, stop) for dtype in _dtypes(repeat))


def _is_allowed(dtype: torch.dtype, stop: Stop) -> bool:
    """Whether sums of a type may be taken in another order: always exact for integers, up to rounding for others."""
    inexact = dtype.is_floating_point or dtype.is_complex
    return not inexact or replace(stop, max_sweeps=None) != _EXACT


def _dtypes(repeat: Repeat) -> list[torch.dtype]:
    return [node.meta["spec"].dtype for node in repeat.body.graph.output_node().args[0]]  # pyright: ignore
