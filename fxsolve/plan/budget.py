"""What the compilations of one first call may cost, so that many loops do not make it wait for minutes.

    a compilation costs as much as RUNS runs of its loop save         -> it is not worth it, or fewer steps go into it
    all of them cost more than BUDGET_SECONDS and than RUNS such runs -> the loop is left out, and a note says so
    its steps are those of a loop before                              -> it costs nothing

So a few large loops behind many small ones still find room. Costs are estimated from the number of ops: what is chosen
then depends neither on the load of the machine nor on what inductor compiles of its own, once on each machine.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

OP_SECONDS = 12e-3  # inductor on one thread of a CPU, for each op of an unrolled step
RUNS = 500
BUDGET_SECONDS = 8.0


@dataclass
class Budget:
    """The `seconds` that were spent, the `graphs` that they were spent on, and the loops that were `left_out`.

    `unrolls` has the steps in one compiled call for each kind of loop that was met.
    """

    seconds: float = 0.0
    graphs: set[Hashable] = field(default_factory=set)
    unrolls: dict[Hashable, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def admit(self, loop: str, graph: Hashable, ops: int, saved: float) -> bool:
        """Whether a graph of so many ops may be compiled for a loop, which then saves up to `saved` seconds a run."""
        if graph in self.graphs:
            return True
        cost = self.seconds + ops * OP_SECONDS
        if cost > max(BUDGET_SECONDS, RUNS * saved):
            self.left_out.append(loop)
            return False
        self.seconds = cost
        self.graphs.add(graph)
        return True

    def notes(self) -> tuple[str, ...]:
        """What the report says of loops that were left out."""
        if not self.left_out:
            return ()
        names = ", ".join(self.left_out)
        return (f"steps were not compiled in {names}: those of other loops take about {self.seconds:.0f} s already",)


def most_ops(saved: float) -> int:
    """The ops whose compilation is repaid in `RUNS` runs that save so many seconds each."""
    return int(RUNS * saved / OP_SECONDS)
