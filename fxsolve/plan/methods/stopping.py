"""While: steps in order until one reads the value that stops them, as the program runs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.ahead import ahead_graph, no_look_ahead, outputs_kept, own_ops
from fxsolve.lower.stopping import stopping
from fxsolve.plan.method import Option, Part, Steps, WholeMethod
from fxsolve.plan.proofs import STOPS, Proofs, Requirement
from fxsolve.plan.solver import HeldModule, LoopSolver, Solver
from fxsolve.plan.trial import Refined, Situation, Trial
from fxsolve.plan.try_ahead import try_ahead
from fxsolve.solvers.ahead import AheadChunk, until_ahead
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class While(WholeMethod, Refined):
    """x <- f(x) until c(x) is the value that stops the loop; at most `child.stop` steps of it were recorded.

    The number of steps is that of the program, and so are the values, bit for bit. `ahead` steps are one compiled call
    where that is more than one: what round in an order of its own stays as it is called, and of several c(x) the first
    counts that stops the loop.
    """

    name: ClassVar[str] = "while"
    requires: ClassVar[tuple[Requirement, ...]] = (STOPS,)
    options: ClassVar[tuple[Option, ...]] = (Option("ahead", lambda reader: reader.count("step")),)
    in_order: ClassVar[bool] = True

    child: Steps
    ahead: int = 1

    @property
    def over(self) -> str:
        return str(self.child).replace(f"[{self.child.start}:{self.child.stop}]", "", 1)

    def check(self, repeat: Repeat) -> None:
        if repeat.until is None:
            raise ScheduleError(f"{repeat.name} stops on no value; write {self.child}")

    def settle(self, proofs: Proofs) -> "While":
        if self.ahead == 1:
            return self
        is_eager = proofs.backend != "inductor"
        obstacle = f"the backend {proofs.backend} compiles no steps" if is_eager else no_look_ahead(proofs.repeat)
        if obstacle is not None:
            raise PartitionError(f"no step is computed ahead: {obstacle}")
        return self

    def refine(self, situation: Situation, best: Trial) -> Trial | None:
        return try_ahead(situation, best)

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        call = stopping(repeat)
        if self.ahead == 1:
            return LoopSolver(repeat, call.solver, call.loop, arguments=lambda _, values: call.arguments(values))
        chunk = AheadChunk(ahead_graph(repeat, self.ahead), outputs_kept(repeat), own_ops(repeat))
        return LoopSolver(
            repeat,
            until_ahead,
            call.loop,
            extras=(HeldModule("chunk", chunk),),
            arguments=lambda _, values: call.arguments(values),
        )
