"""What is known of a solution after the fact."""

from dataclasses import dataclass
from typing import Literal

from fxsolve.solvers.loop import Loop
from fxsolve.solvers.solution import Solution

Basis = Literal["in order", "equality", "independent", "jacobian", "disturbance", "none"]


@dataclass(frozen=True)
class Certificate:
    """A solution S of S = F(S), all values that steps read from one another, looked at again; F are the steps.

    `residual` = max |F(S) - S|, and `bitwise` says that no bit differs. The first `prefix` steps are exact: the solver
    proved it, or F leaves them as they are. `bound` estimates max |S - s|, for s the solution in exact arithmetic and
    for s what the steps give one by one; None where nothing was estimated. It rests on `basis`:

    - "in order": the program's own steps ran, and S is what they gave. No bound where they solve loops of their own.
    - "equality": no step changes a bit of S any more, or S is discrete, and right if `bitwise`.
    - "independent": no step reads another, and S is empty.
    - "jacobian": the residual and the rounding of each step, propagated by norms of the Jacobians.
    - "disturbance": the same, by what sweeps made of a small disturbance, which shrank by `rate` a sweep.
    - "none": F could not be evaluated again, because of `problem`.

    The bounds from Jacobians and disturbances are of first order: infinite where errors may be larger than a hundredth
    of the values, and blind to a comparison or a rounding inside of a step that a larger error would turn over. A step
    is taken to round like a few operations of its dtype, not like products in TF32.
    """

    solution: Solution
    residual: float
    bitwise: bool
    prefix: int
    bound: float | None
    basis: Basis
    rate: float | None = None
    problem: str = ""


def of_own_steps(solution: Solution, loop: Loop) -> Certificate:
    """For the program's own steps, in order, up to the last one or to one that no later one would change."""
    solves_loops = any(isinstance(part, Loop) for part in loop.body.modules())
    basis = "equality" if solution.status in ("fixed point", "periodic") else "in order"
    return Certificate(solution, 0.0, True, solution.length, None if solves_loops else 0.0, basis)
