"""From a repeat and the leaves of a schedule that name it to its solver: the only place that says how a leaf runs."""

from collections.abc import Sequence

from fxsolve.ir.nested import loops_inside, with_solvers
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import step_arguments
from fxsolve.lower.lower import step_loop
from fxsolve.plan.method import MethodNode, Part, Steps, steps_of, whole
from fxsolve.plan.schedule import GaussSeidel, parts_of
from fxsolve.plan.solver import LoopSolver, Solver, module_of
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.stop import Stop


def lower(repeat: Repeat, parts: Sequence[Part], stop: Stop | None = None) -> Solver:
    """The solver of a repeat as its `parts` say: one method for all steps, beside steps in order.

    `stop` is the test of methods that name none; the default depends on the dtype of the states. Loops inside of the
    steps are solved as the parts say of them, and run their steps in order where the parts say nothing. Raises
    `PartitionError` where the body cannot be batched or linearized.
    """
    ready = _with_inside(repeat, parts, stop)
    method = next((part for part in parts if isinstance(part, MethodNode)), None)
    return _in_order(ready) if method is None else method.lower(ready, parts, stop)


def _in_order(repeat: Repeat) -> Solver:
    """The steps one after another, as the program runs them."""
    return LoopSolver(
        repeat, gauss_seidel, step_loop(repeat), arguments=lambda one, values: step_arguments(one, values).flat()
    )


def _with_inside(repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Repeat:
    """The repeat with modules that solve the loops inside of its steps."""
    if not loops_inside(repeat):
        return repeat
    inside = GaussSeidel(steps_of(parts[0]).inside)

    def solver_of(inner: Repeat):
        own: tuple[Steps | MethodNode, ...] = parts_of(inside, inner.name) or (whole(inner),)
        return module_of(lower(inner, own, stop))

    return with_solvers(repeat, solver_of)
