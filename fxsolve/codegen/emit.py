"""From a schedule to an executable module."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from fxsolve.codegen.draws import gather_noise, sample_noise
from fxsolve.codegen.guards import Guards
from fxsolve.codegen.loops import emit_fused, emit_jacobi, emit_sequential
from fxsolve.codegen.values import Emission, NoiseInput
from fxsolve.scheduler.auto import state_dtype
from fxsolve.scheduler.schedule import Apply, GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.scheduler.verify import verify_schedule
from fxsolve.solvers.stop import Stop, default_stop
from fxsolve.system.spec import Block, Repeat, System
from fxsolve.tracer.program import Draw, Program


@dataclass(frozen=True)
class Emitted:
    """An executable module: the program's tensor inputs, then its noise inputs -> the flat tuple of its outputs.

    Before it returns, the module checks the program's guards and raises `GuardError` if one fails.
    """

    module: fx.GraphModule
    noise: tuple[NoiseInput, ...]

    def noise_inputs(self, drawn: tuple[Tensor, ...]) -> list[Tensor]:
        """The module's noise inputs from the values of the program's draws."""
        return [gather_noise(entry, drawn) for entry in self.noise]

    def fresh_noise(self, draws: tuple[Draw, ...]) -> list[Tensor]:
        """The module's noise inputs, drawn now in the program's order."""
        return sample_noise(self.noise, draws)


def emit(
    program: Program,
    system: System,
    schedule: Schedule,
    fused: dict[str, int] | None = None,
    stop: Stop | None = None,
) -> Emitted:
    """The module that solves `system` in the order of `schedule`.

    `fused` maps repeats that run step by step to the number of steps compiled into one call. `stop` is the test of
    Jacobi schedules that name none; the default depends on the dtype of the states.
    """
    verify_schedule(schedule, system)
    emission = Emission(program, system)
    equations = {equation.name: equation for equation in system.equations}
    results, watched = _outputs(system, len(program.example.outputs))
    guards = Guards(system, watched, tuple(guard.expected for guard in program.guards))
    checked = False
    for name, parts in _by_equation(schedule):
        equation = equations[name]
        if not checked and isinstance(equation, Repeat):
            # What does not depend on a loop is checked before the first one runs.
            guards.emit(emission)
            checked = True
        if isinstance(equation, Block):
            emission.inline(equation)
        elif any(isinstance(part, Jacobi) for part in parts):
            emit_jacobi(emission, equation, parts, stop or default_stop(state_dtype(equation)))
        elif name in (fused or {}):
            emit_fused(emission, equation, (fused or {})[name])
        else:
            emit_sequential(emission, equation)
    guards.emit(emission)
    if fused or any(isinstance(leaf, Jacobi) for leaf in _leaves(schedule)):
        _lay_out(emission, program, results)
    return Emitted(emission.finish(results, "Emitted"), tuple(emission.noise))


def _lay_out(emission: Emission, program: Program, results: tuple[str, ...]) -> None:
    """Batched and compiled steps choose their own strides: results that were contiguous are made so again."""
    recorded = zip(results, program.example.outputs, strict=True)
    for name in {name: None for name, value in recorded if value.is_contiguous() and value.dim() > 1}:
        node = emission.values[name]
        if node.op == "call_function" and node.target is not torch.ops.aten.contiguous.default:
            emission.values[name] = emission.call(torch.ops.aten.contiguous.default, node)


def _outputs(system: System, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the `count` results, and those of the values that guards watch."""
    return system.outputs[:count], system.outputs[count:]


def _by_equation(schedule: Schedule) -> Iterator[tuple[str, list[Steps | Jacobi]]]:
    """The leaves of a schedule in order, those of one repeat together."""
    name, parts = "", []
    for leaf in _leaves(schedule):
        owner = (
            leaf.block if isinstance(leaf, Apply) else leaf.child.repeat if isinstance(leaf, Jacobi) else leaf.repeat
        )
        if owner != name and name:
            yield name, parts
            parts = []
        name = owner
        if not isinstance(leaf, Apply):
            parts.append(leaf)
    if name:
        yield name, parts


def _leaves(schedule: Schedule) -> Iterator[Apply | Steps | Jacobi]:
    if isinstance(schedule, GaussSeidel):
        for child in schedule.children:
            yield from _leaves(child)
    else:
        yield schedule
