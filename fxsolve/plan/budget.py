"""What the compilations of one first call may cost, so that many loops do not make it wait for minutes.

    a compilation costs as much as RUNS runs of its loop save         -> it is not worth it, or fewer steps go into it
    all of them cost more than BUDGET_SECONDS and than RUNS such runs -> the loop is left out, and a note says so
    its steps are those of a loop before                              -> it costs nothing

So a few large loops behind many small ones still find room. Costs are estimated from the number of ops: what is chosen
then depends neither on the load of the machine nor on what inductor compiles of its own, once on each machine.
"""

from dataclasses import dataclass, field
from typing import ClassVar, final

from fxsolve.plan.purse import GraphRequest, Purse

OP_SECONDS = 12e-3  # inductor on one thread of a CPU, for each op of an unrolled step
RUNS = 500
BUDGET_SECONDS = 8.0


@final
@dataclass
class Budget(Purse):
    """Compiles at once, for `seconds` so far; for the loops `left_out` there was no time."""

    least_seconds: ClassVar[float] = 2e-4
    runs: ClassVar[int] = 4 * RUNS  # of loops that take no more than a millisecond, less would leave one step in a call
    seconds: float = 0.0
    left_out: list[str] = field(default_factory=list)

    def refuse(self, asked: GraphRequest) -> str:
        if asked.graph in self.graphs:
            return ""
        cost = self.seconds + asked.ops * OP_SECONDS
        if cost > max(BUDGET_SECONDS, RUNS * asked.total):
            self.left_out.append(asked.loop)
            return "other loops take all the time there is for compiling"
        self.seconds = cost
        self.graphs.add(asked.graph)
        return ""

    def notes(self) -> tuple[str, ...]:
        if not self.left_out:
            return ()
        names = ", ".join(self.left_out)
        return (f"steps were not compiled in {names}: those of other loops take about {self.seconds:.0f} s already",)


def most_ops(saved: float, runs: int = RUNS) -> int:
    """The ops whose compilation is repaid in so many runs that save so many seconds each."""
    return int(runs * saved / OP_SECONDS)
