"""Whether a step is affine in what its repeat carries: s_t = A_t s_<t + b_t, with A_t and b_t free of the carry."""

from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.ops.domains.affine import Affine, Degree
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.ops.interpret import Interpreter


def is_affine(repeat: Repeat, facts: Facts = FACTS) -> bool:
    """Whether every carried output is proved to be affine in the carried inputs; False where nothing is carried."""
    carried = [read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))]
    inputs = [Degree.AFFINE if isinstance(read, (Lag, Prefix)) else Degree.FREE for read in repeat.reads]
    outputs = Interpreter(repeat.body, Affine(), facts).run(*inputs)
    return bool(carried) and all(outputs[output] <= Degree.AFFINE for output in carried)
