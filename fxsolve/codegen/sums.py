"""Emit a repeat that only adds up: its terms in one sweep, and their sums."""

from fxsolve.codegen.loops import emit_method
from fxsolve.codegen.values import Emission
from fxsolve.ir.spec import Block, Repeat
from fxsolve.plan.method import Steps
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.rewrite.sums.fold import fold_sums
from fxsolve.solvers.stop import Stop


def emit_sum(emission: Emission, repeat: Repeat) -> None:
    """All terms at once, and their sums. Raises `PartitionError` if the terms cannot be batched."""
    for equation in fold_sums(repeat):
        if isinstance(equation, Block):
            emission.inline(equation)
        else:
            whole = Jacobi(Steps(equation.name, 0, equation.length))
            emit_method(emission, equation, [whole], Stop(), 1)
