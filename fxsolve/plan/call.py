"""The solver that a part of a schedule means, and what it takes beside the loop's own inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import SolverArguments
from fxsolve.lower.linearize import Jacobian, linear_loop
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.facts import find_facts
from fxsolve.plan.samples import sample_loops
from fxsolve.plan.schedule import Chunks, Jacobi, Levels, Method, Newton, Part, Picard, Scan, Steps, steps_of
from fxsolve.solvers.by_sample import jacobi_by_sample
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.jacobi_gs import jacobi_gs
from fxsolve.solvers.layout import Layout
from fxsolve.solvers.levels import levels
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.newton import newton
from fxsolve.solvers.picard import picard
from fxsolve.solvers.samples import SampleLoops
from fxsolve.solvers.scan import scan
from fxsolve.solvers.sliding import sliding
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class SolverCall:
    """solver(loop, [linear, layout | samples], initial, buffers, per_step, shared, *options)."""

    solver: Callable[..., Any]
    loop: Loop
    options: tuple[Any, ...] = ()
    linear: nn.Module | None = None
    layout: Layout | None = None
    samples: SampleLoops | None = None

    def solve(self, arguments: SolverArguments) -> Any:
        """What the solver returns."""
        extras = [extra for extra in (self.linear, self.layout, self.samples) if extra is not None]
        return self.solver(self.loop, *extras, *arguments.flat(), *self.options)


def solver_call(repeat: Repeat, parts: Sequence[Part], default: Stop, depth: int) -> SolverCall:
    """The call that solves `repeat` as `parts` say; steps in order among them are windows of one step.

    `default` is the stop test of methods that name none, `depth` bounds the chains of steps that read one another.
    Raises `PartitionError` if the body cannot be batched or linearized, and where the method does not fit the loop.
    """
    bounds = window_bounds(parts)
    test = _test(parts, default)
    match method_of(parts):
        case Jacobi(Chunks(_, length)):
            return SolverCall(jacobi_gs, sweep_loop(repeat, (0, repeat.length // length)), (*test, length))
        case Jacobi(_, _, int(window)):
            return SolverCall(sliding, sweep_loop(repeat, (0, min(window, repeat.length))), (*test, window))
        case Jacobi(_, _, None, sizes) if sizes:
            loop, options = sweep_loop(repeat, bounds), (*test, _short(bounds))
            return SolverCall(jacobi_by_sample, loop, options, samples=sample_loops(repeat, sizes, bounds))
        case Jacobi():
            return SolverCall(jacobi, sweep_loop(repeat, bounds), (*test, _short(bounds)))
        case Picard():
            return SolverCall(picard, sweep_loop(repeat, bounds), (*test, _short(bounds)))
        case Levels():
            return SolverCall(levels, sweep_loop(repeat, bounds), (depth,))
        case Newton(_, jacobian):
            options = (*test, _short(bounds), find_facts(repeat).limits)
            return _linearized(newton, repeat, bounds, options, jacobian)
        case Scan():
            return _linearized(scan, repeat, bounds, (), "full")


def method_of(parts: Sequence[Part]) -> Method:
    """The method of the parts of one repeat that are not steps in order."""
    return next(part for part in parts if not isinstance(part, Steps))


def window_bounds(parts: Sequence[Part]) -> list[int]:
    """The limits of the windows that the parts of one repeat ask for."""
    bounds = [0]
    for part in parts:
        bounds += range(part.start + 1, part.stop + 1) if isinstance(part, Steps) else [steps_of(part).stop]
    return bounds


def _linearized(
    solver: Callable[..., Any], repeat: Repeat, bounds: list[int], options: tuple[Any, ...], jacobian: Jacobian
) -> SolverCall:
    facts = find_facts(repeat)
    if facts.layout is None:
        raise PartitionError(facts.obstacle)
    linear = linear_loop(repeat, facts.layout, bounds, jacobian)
    return SolverCall(solver, sweep_loop(repeat, bounds), options, linear, facts.layout)


def _test(parts: Sequence[Part], default: Stop) -> tuple[float, float, int | None]:
    """The strictest of the stop tests that the parts name."""
    stops = [part.stop or default for part in parts if isinstance(part, (Jacobi, Newton, Picard))]
    stop = min(stops, key=lambda one: (one.atol, one.rtol), default=default)
    return stop.atol, stop.rtol, stop.max_sweeps


def _short(bounds: list[int]) -> tuple[int, ...] | range:
    """Equal windows as a range, shorter to read in the emitted code."""
    if len(bounds) < 4:
        return tuple(bounds)
    counted = range(0, bounds[-1] + 1, bounds[1])
    return counted if list(counted) == bounds else tuple(bounds)
