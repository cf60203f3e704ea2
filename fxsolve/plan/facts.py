"""What is proved of a loop from its ops alone, before anything is measured."""

import math
from dataclasses import dataclass

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.lower.linearize import state_size
from fxsolve.ops.domains.affine import Affine, Degree
from fxsolve.ops.domains.interval import ANYTHING, Intervals
from fxsolve.ops.facts import EVERYTHING, FACTS
from fxsolve.ops.facts import Facts as Table
from fxsolve.ops.interpret import Interpreter
from fxsolve.plan.independence import find_layout
from fxsolve.solvers.layout import Layout

Ends = tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """`layout` is None where the carries make up no state that one step gives to the next; `obstacle` says why.

    `affine` says that a step is an affine function of what it carries, `box` where its carried outputs lie.
    """

    affine: bool
    layout: Layout | None
    obstacle: str
    box: tuple[Ends, ...]

    @property
    def size(self) -> int:
        """The entries n of the state that depend on one another; 0 where there is no state."""
        return 0 if self.layout is None else state_size(self.layout)

    @property
    def structure(self) -> str:
        """The form of the Jacobian of a step."""
        if self.layout is None:
            return ""
        if self.size == 1:
            return "diagonal"
        blocks = math.prod(self.layout.batch)
        square = f"{self.size} x {self.size}"
        return f"dense, {square}" if blocks == 1 else f"{blocks:,} blocks of {square}"

    @property
    def limits(self) -> tuple[Ends | None, ...]:
        """The box as solvers take it: None for a carry that may be anything."""
        return tuple(None if one == EVERYTHING else one for one in self.box)

    @property
    def bounds(self) -> str:
        """The ranges of the carries that have one."""
        return ", ".join(f"[{low:g}, {high:g}]" for low, high in self.box if (low, high) != EVERYTHING)


def find_facts(repeat: Repeat, table: Table = FACTS) -> Facts:
    """Everything that can be proved of a repeat without running or tracing it.

    Whether it is affine is told by the `table` of ops; the layout by the package's own, as lowering finds it again.
    """
    try:
        layout = find_layout(repeat)
    except PartitionError as reason:
        return Facts(is_affine(repeat, table), None, str(reason), ())
    return Facts(is_affine(repeat, table), layout, "", carried_ranges(repeat, layout.outputs))


def is_affine(repeat: Repeat, table: Table = FACTS) -> bool:
    """Whether a step is proved to be affine in what it carries: s_t = A_t s_<t + b_t, with A_t and b_t free of that.

    False where nothing is carried.
    """
    carried = [read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))]
    inputs = [Degree.AFFINE if isinstance(read, (Lag, Prefix)) else Degree.FREE for read in repeat.reads]
    outputs = Interpreter(repeat.body, Affine(), table).run(*inputs)
    return bool(carried) and all(outputs[output] <= Degree.AFFINE for output in carried)


def carried_ranges(repeat: Repeat, outputs: tuple[int, ...]) -> tuple[Ends, ...]:
    """An interval that holds every entry of each of these outputs at every step, whatever that reads: tanh, [-1, 1]."""
    results = Interpreter(repeat.body, Intervals()).run(*(ANYTHING for _ in repeat.reads))
    return tuple((results[output].low, results[output].high) for output in outputs)
