"""The windows of steps that the parts of one repeat ask for, the test that ends each of them, and their Jacobians."""

from collections.abc import Callable, Sequence
from typing import Any

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.linearize import Jacobian, linear_loop
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.facts import find_facts
from fxsolve.plan.method import Iterative, Part, Steps, steps_of
from fxsolve.plan.solver import HeldModule, LoopSolver
from fxsolve.plan.tolerance import stop_of
from fxsolve.solvers.stop import Stop

Test = tuple[float, float, int | None]


def window_bounds(parts: Sequence[Part]) -> list[int]:
    """The limits of the windows that the parts of one repeat ask for; steps in order are windows of one step."""
    bounds = [0]
    for part in parts:
        bounds += range(part.start + 1, part.stop + 1) if isinstance(part, Steps) else [steps_of(part).stop]
    return bounds


def strictest(repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Test:
    """The strictest of the stop tests that the parts name; `stop`, or that of the dtype, where one names none."""
    default = stop or stop_of(repeat)
    stops = [part.stop or default for part in parts if isinstance(part, Iterative)]
    found = min(stops, key=lambda one: (one.atol, one.rtol), default=default)
    return found.atol, found.rtol, found.max_sweeps


def short(bounds: list[int]) -> tuple[int, ...] | range:
    """Equal windows as a range, shorter to read in the emitted code."""
    if len(bounds) < 4:
        return tuple(bounds)
    counted = range(0, bounds[-1] + 1, bounds[1])
    return counted if list(counted) == bounds else tuple(bounds)


def linearized(
    function: Callable[..., Any], repeat: Repeat, bounds: list[int], options: tuple[Any, ...], jacobian: Jacobian
) -> LoopSolver:
    """The solver that takes the Jacobians of the steps too. Raises `PartitionError` where there are none."""
    facts = find_facts(repeat)
    if facts.layout is None:
        raise PartitionError(facts.obstacle)
    linear = HeldModule("linear", linear_loop(repeat, facts.layout, bounds, jacobian))
    return LoopSolver(repeat, function, sweep_loop(repeat, bounds), options, (linear, facts.layout))
