"""Fused: the steps in order, several of them in one compiled call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import Values, backward_reads, fused_arguments
from fxsolve.lower.lower import step_loop
from fxsolve.lower.readable import readable
from fxsolve.lower.unroll import can_unroll, chunk_graph
from fxsolve.plan.method import Method, Option, Part, Steps
from fxsolve.plan.proofs import UNROLLED, Fact
from fxsolve.plan.solver import Held, LoopSolver, Solver
from fxsolve.solvers import fuse
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Fused(Method):
    """The steps in order, `unroll` of them in one call that inductor compiles; these round in their own way."""

    name: ClassVar[str] = "fused"
    requires: ClassVar[tuple[Fact, ...]] = (UNROLLED,)
    options: ClassVar[tuple[Option, ...]] = (Option("unroll", lambda reader: reader.count("step")),)

    child: Steps
    unroll: int

    @property
    def takes_all(self) -> bool:
        return True

    def check(self, repeat: Repeat) -> None:
        if self.unroll < 1:
            raise ScheduleError(f"{self} has {self.unroll} steps in a call; it needs one or more")
        if not can_unroll(repeat):
            raise ScheduleError(f"{self} needs steps that read tensors, and of other steps only the one before")

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        chunk = Held("chunk", fuse.Fused(readable(chunk_graph(repeat, self.unroll))))
        return LoopSolver(
            repeat,
            fuse.fused_gauss_seidel,
            step_loop(repeat),
            (backward_reads(repeat),),
            (chunk, self.unroll),
            _laid_out_for_chunks,
            fixes_layout=True,
        )


def _laid_out_for_chunks(repeat: Repeat, values: Values) -> tuple[Any, ...]:
    return fused_arguments(repeat, values).flat()
