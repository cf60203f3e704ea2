"""What compiling steps costs, and what compiled steps save."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Seconds of compiling one op of an unrolled step, and one graph besides; and what a compiled op saves in each run.

    The defaults were measured on one thread of a 2-core CPU with torch 2.13: means over eight graphs of 96 to 264 ops
    (GRU, LSTM, Euler steps; inference and training), compiled by inductor without its cache, in CPU seconds of this
    process and of compilers, three quarters of it theirs; and over seven loops with ops of 1.4 to 2.9 us, against the
    steps in order as they are emitted without.
    """

    op_seconds: float = 0.06
    graph_seconds: float = 0.5
    saved_op_seconds: float = 0.9e-6

    def compiling(self, ops: int) -> float:
        """The seconds that it takes to compile a graph."""
        return self.graph_seconds + ops * self.op_seconds

    def compiled(self, step: float, calls: int) -> float:
        """The seconds of one step with so many calls, compiled, that takes `step` seconds as it is."""
        return max(step - calls * self.saved_op_seconds, LEAST_SHARE * step)


LEAST_SHARE = 0.2  # of the time of a step is left by compiling it, whatever its calls
