"""Emit one repeat: its run-time loop and the solver call that its schedule asks for."""

import operator
from collections.abc import Callable
from typing import Any

from fxsolve.codegen.values import Emission
from fxsolve.partitioner.arguments import step_arguments, sweep_arguments
from fxsolve.partitioner.lower import is_autonomous, results_of, step_loop, sweep_loop
from fxsolve.partitioner.readable import readable
from fxsolve.partitioner.unroll import chunk_graph
from fxsolve.scheduler.schedule import Jacobi, Steps
from fxsolve.solvers.fixed_point import fixed_point
from fxsolve.solvers.fuse import Fused, fused_gauss_seidel
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.stop import Stop
from fxsolve.system.spec import Repeat


def emit_sequential(emission: Emission, repeat: Repeat) -> None:
    """The steps in order; a loop whose steps are one and the same map may stop at its fixed point."""
    loop = emission.attribute(repeat.name, step_loop(repeat))
    arguments = emission.nodes(step_arguments(repeat, emission.proxies()))
    if is_autonomous(repeat):
        _solve(emission, repeat, fixed_point, loop, arguments.initial, arguments.shared)
    else:
        _solve(emission, repeat, gauss_seidel, loop, *arguments.flat())


def emit_fused(emission: Emission, repeat: Repeat, unroll: int) -> None:
    """The steps in order, `unroll` of them in one compiled call."""
    loop = emission.attribute(repeat.name, step_loop(repeat))
    chunk = emission.attribute(f"{repeat.name}_chunk", Fused(readable(chunk_graph(repeat, unroll))))
    arguments = emission.nodes(sweep_arguments(repeat, emission.proxies()))
    _solve(emission, repeat, fused_gauss_seidel, loop, chunk, unroll, *arguments.flat())


def emit_jacobi(emission: Emission, repeat: Repeat, parts: list[Steps | Jacobi], default: Stop) -> None:
    """Sweeps over windows of steps, in order; a sequential part is a run of windows of one step."""
    bounds = window_bounds(parts)
    stops = {part.stop or default for part in parts if isinstance(part, Jacobi)}
    stop = min(stops, key=lambda one: (one.atol, one.rtol))
    loop = emission.attribute(repeat.name, sweep_loop(repeat, bounds))
    arguments = emission.nodes(sweep_arguments(repeat, emission.proxies()))
    options = (stop.atol, stop.rtol, stop.max_sweeps, _short(bounds))
    _solve(emission, repeat, jacobi, loop, *arguments.flat(), *options)


def window_bounds(parts: list[Steps | Jacobi]) -> list[int]:
    """The limits of the windows that the parts of one repeat ask for."""
    bounds = [0]
    for part in parts:
        bounds += [part.child.stop] if isinstance(part, Jacobi) else range(part.start + 1, part.stop + 1)
    return bounds


def _solve(emission: Emission, repeat: Repeat, solver: Callable[..., Any], *arguments: Any) -> None:
    """Call a solver and name its results."""
    solved = emission.named(f"{repeat.name}_solved", solver, *arguments)
    for name, position in results_of(repeat).items():
        emission.values[name] = emission.named(name, operator.getitem, solved, position)


def _short(bounds: list[int]) -> tuple[int, ...] | range:
    """Equal windows as a range, shorter to read in the emitted code."""
    if len(bounds) < 4:
        return tuple(bounds)
    counted = range(0, bounds[-1] + 1, bounds[1])
    return counted if list(counted) == bounds else tuple(bounds)
