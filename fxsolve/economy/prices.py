"""What compiling steps costs, and what compiled steps save."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Seconds of compiling one op of an unrolled step, and one graph besides; and what a compiled op saves in each run.

    The first graph of a process takes `start_seconds` more, in which inductor is imported and tries which instructions
    the processor has. The defaults were measured on one thread of a 2-core CPU with torch 2.13: over 14 graphs of 81 to
    207 ops (GRU, LSTM, Euler steps; inference and training), compiled by inductor without its cache, in CPU seconds of
    this process and of compilers, 1 to 3 each, since equal steps share their kernels; and over seven loops with ops of
    1.4 to 2.9 us, against the steps in order as they are emitted without.
    """

    op_seconds: float = 5e-3
    graph_seconds: float = 1.0
    start_seconds: float = 2.5
    saved_op_seconds: float = 0.9e-6

    def compiling(self, ops: int) -> float:
        """The seconds that it takes to compile a graph."""
        return self.graph_seconds + ops * self.op_seconds

    def compiled(self, step: float, calls: int) -> float:
        """The seconds of one step with so many calls, compiled, that takes `step` seconds as it is."""
        return max(step - calls * self.saved_op_seconds, LEAST_SHARE * step)


LEAST_SHARE = 0.2  # of the time of a step is left by compiling it, whatever its calls
