"""From a schedule to an executable module."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from fxsolve.capture.program import Draw, Program
from fxsolve.codegen.draws import FreshNoise, gather_noise
from fxsolve.codegen.equations import Plan, emit_equations
from fxsolve.codegen.guards import Guards
from fxsolve.codegen.own_memory import give_own_memory
from fxsolve.codegen.values import NoiseInput, ProgramEmission
from fxsolve.errors import InputError
from fxsolve.ir.spec import System
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.plan.verify import verify_schedule
from fxsolve.rewrite.recorded.memory import has_flags
from fxsolve.solvers.lazy import as_lazy
from fxsolve.solvers.numbers import tensor_of
from fxsolve.solvers.strides import laid_out

Flags = Mapping[str, tuple[bool, bool]]  # of named values: conjugated, negated


@dataclass(frozen=True)
class Emitted:
    """An executable module: the program's tensor inputs, then its noise inputs -> the flat tuple of its outputs.

    Before it returns, the module checks the program's guards and raises `GuardError` if one fails.
    """

    module: fx.GraphModule
    noise: tuple[NoiseInput, ...]
    fresh: list[FreshNoise] = field(default_factory=list)  # of the draws that were made last

    def noise_inputs(self, drawn: tuple[Tensor, ...]) -> list[Tensor]:
        """The module's noise inputs from the values of the program's draws."""
        return [gather_noise(entry, drawn) for entry in self.noise]

    def fresh_noise(self, draws: tuple[Draw, ...]) -> list[Tensor]:
        """The module's noise inputs, drawn now in the program's order."""
        if not self.fresh or self.fresh[0].draws is not draws:
            self.fresh[:] = [FreshNoise(self.noise, draws)]
        return self.fresh[0].sample()


def emit(program: Program, system: System, plan: Plan) -> Emitted:
    """The module that solves `system` as planned. Raises `InputError` where `emit_passes` has to."""
    if program.backward is not None:
        raise InputError(
            "this program was recorded with its backward pass; fxsolve.stages.emit_passes gives a module for each "
            "of the two, and recorded under torch.no_grad() it has one"
        )
    verify_schedule(plan.schedule, system)
    return emit_program(program, system, len(program.example.outputs), plan)


def emit_program(
    program: Program, system: System, results: int, plan: Plan, numbers: frozenset[str] = frozenset()
) -> Emitted:
    """The module of a system whose first `results` outputs it returns, and whose others are the program's guards.

    It returns the `numbers` in tensors: autograd keeps nothing else for a backward pass.
    """
    emission = ProgramEmission()
    emission.open_program(program, system)
    names, watched = system.outputs[:results], system.outputs[results:]
    guards = Guards(system, watched, tuple(guard.expected for guard in program.guards))
    # What does not depend on a loop is checked before the first one runs.
    emit_equations(emission, system, plan, lambda: guards.emit(emission))
    guards.emit(emission)
    # The program returns the first ones; others are what its backward pass wants.
    returned = names[: len(program.example.outputs) - (program.backward.results if program.backward else 0)]
    if plan.chooses_strides():
        _lay_out(emission, program, returned)
    for number in plan.turned:
        spec = spec_of(program.example.outputs[number])
        emission.values[returned[number]] = emission.call(laid_out, emission.values[returned[number]], spec.stride)
    own = give_own_memory(emission, program, returned)
    if has_flags(program.module.graph):
        set_flags(emission, flags_of(own, program.example.outputs))
    for name in (name for name in names if name in numbers):
        emission.values[name] = emission.call(tensor_of, emission.values[name])
    return Emitted(emission.finish((*own, *names[len(own) :]), "Emitted"), tuple(emission.noise))


def _lay_out(emission: ProgramEmission, program: Program, results: tuple[str, ...]) -> None:
    """Batched and compiled steps choose their own strides: results that were contiguous are made so again."""
    recorded = zip(results, program.example.outputs, strict=False)
    for name in {name: None for name, value in recorded if value.is_contiguous() and value.dim() > 1}:
        node = emission.values[name]
        if node.op == "call_function" and node.target is not torch.ops.aten.contiguous.default:
            emission.values[name] = emission.call(torch.ops.aten.contiguous.default, node)


def flags_of(names: Iterable[str], recorded: Iterable[Tensor]) -> Flags:
    """Whether what was recorded is conjugated, or negated, by a flag."""
    return {name: (value.is_conj(), value.is_neg()) for name, value in zip(names, recorded, strict=False)}


def set_flags(emission: ProgramEmission, flags: Flags) -> None:
    """What the caller gets has the flags of what was recorded."""
    for name, wanted in flags.items():
        node = emission.values[name]
        if node.op == "call_function":
            emission.values[name] = emission.call(as_lazy, node, *wanted)
