"""Emit one repeat: its run-time loop and the solver call that its schedule asks for."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from torch import fx

from fxsolve.codegen.values import Emission
from fxsolve.ir.reads import is_autonomous
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import fused_arguments, step_arguments, sweep_arguments
from fxsolve.lower.lower import results_of, step_loop
from fxsolve.lower.readable import readable
from fxsolve.lower.unroll import chunk_graph
from fxsolve.plan.method import Part
from fxsolve.plan.windows import lower
from fxsolve.solvers.fixed_point import fixed_point
from fxsolve.solvers.fuse import Fused, fused_gauss_seidel
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.layout import Layout
from fxsolve.solvers.stop import Stop


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
    backwards, arguments = fused_arguments(repeat, emission.proxies())
    flat = emission.nodes(arguments).flat()
    _solve(emission, repeat, fused_gauss_seidel, loop, chunk, unroll, *flat, backwards)


def emit_method(emission: Emission, repeat: Repeat, parts: Sequence[Part], default: Stop, depth: int) -> None:
    """All steps at once, or the windows of them that the parts are, by the method that the parts name."""
    call = lower(repeat, parts, default, depth)
    loop = emission.attribute(repeat.name, call.loop)
    extras = []
    if call.linear is not None and call.layout is not None:
        extras = [emission.attribute(f"{repeat.name}_linear", call.linear), _constructed(emission, call.layout)]
    if call.samples is not None:
        extras = [emission.attribute(f"{repeat.name}_samples", call.samples)]
    arguments = emission.nodes(sweep_arguments(repeat, emission.proxies()))
    _solve(emission, repeat, call.solver, loop, *extras, *arguments.flat(), *call.options)


def _constructed(emission: Emission, layout: Layout) -> fx.Node:
    """The layout, written out in the emitted code."""
    return emission.graph.call_function(
        Layout, (), {field.name: getattr(layout, field.name) for field in fields(Layout)}
    )


def _solve(emission: Emission, repeat: Repeat, solver: Callable[..., Any], *arguments: Any) -> None:
    """Call a solver and name its results."""
    solved = emission.named(f"{repeat.name}_solved", solver, *arguments)
    for name, position in results_of(repeat).items():
        emission.values[name] = emission.named(name, operator.getitem, solved, position)
