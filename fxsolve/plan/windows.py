"""The windows of steps that the parts of one repeat ask for, and the test that ends each of them."""

from collections.abc import Callable, Sequence
from typing import Any

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.linearize import Jacobian, linear_loop
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.call import SolverCall
from fxsolve.plan.facts import find_facts
from fxsolve.plan.method import Iterative, Method, Part, Steps, steps_of
from fxsolve.solvers.stop import Stop


def lower(repeat: Repeat, parts: Sequence[Part], default: Stop, depth: int) -> SolverCall:
    """The call that solves `repeat` as `parts` say, one of which is a method; arguments as in `Method.lower`."""
    method = next(part for part in parts if isinstance(part, Method))
    return method.lower(repeat, parts, default, depth)


def window_bounds(parts: Sequence[Part]) -> list[int]:
    """The limits of the windows that the parts of one repeat ask for; steps in order are windows of one step."""
    bounds = [0]
    for part in parts:
        bounds += range(part.start + 1, part.stop + 1) if isinstance(part, Steps) else [steps_of(part).stop]
    return bounds


def linearized(
    solver: Callable[..., Any], repeat: Repeat, bounds: list[int], options: tuple[Any, ...], jacobian: Jacobian
) -> SolverCall:
    """The call of a solver that takes the Jacobians of the steps. Raises `PartitionError` where there are none."""
    facts = find_facts(repeat)
    if facts.layout is None:
        raise PartitionError(facts.obstacle)
    linear = linear_loop(repeat, facts.layout, bounds, jacobian)
    return SolverCall(solver, sweep_loop(repeat, bounds), options, linear, facts.layout)


def strictest(parts: Sequence[Part], default: Stop) -> tuple[float, float, int | None]:
    """The strictest of the stop tests that the parts name."""
    stops = [part.stop or default for part in parts if isinstance(part, Iterative)]
    stop = min(stops, key=lambda one: (one.atol, one.rtol), default=default)
    return stop.atol, stop.rtol, stop.max_sweeps


def short(bounds: list[int]) -> tuple[int, ...] | range:
    """Equal windows as a range, shorter to read in the emitted code."""
    if len(bounds) < 4:
        return tuple(bounds)
    counted = range(0, bounds[-1] + 1, bounds[1])
    return counted if list(counted) == bounds else tuple(bounds)
