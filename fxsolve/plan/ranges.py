"""The range of what a loop carries, proved from the ops that make it: tanh gives [-1, 1], relu [0, inf)."""

from fxsolve.ir.spec import Repeat
from fxsolve.ops.domains.interval import ANYTHING, Intervals
from fxsolve.ops.facts import EVERYTHING, FACTS, Facts
from fxsolve.ops.interpret import Interpreter

__all__ = ["EVERYTHING", "Ends", "carried_ranges"]

Ends = tuple[float, float]


def carried_ranges(repeat: Repeat, outputs: tuple[int, ...], facts: Facts = FACTS) -> tuple[Ends, ...]:
    """An interval that holds every entry of each of these outputs at every step, whatever the step reads."""
    results = Interpreter(repeat.body, Intervals(), facts).run(*(ANYTHING for _ in repeat.reads))
    return tuple((results[output].low, results[output].high) for output in outputs)
