"""Emit a program together with its backward pass, as two modules."""

from dataclasses import dataclass, field, replace

from torch import fx

from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted, Flags, emit_program, flags_of, set_flags
from fxsolve.codegen.equations import Plan, emit_equations
from fxsolve.codegen.values import ProgramEmission
from fxsolve.errors import ScheduleError
from fxsolve.ir.nested import every_repeat
from fxsolve.ir.spec import Block, Repeat, System
from fxsolve.plan.complete import in_order
from fxsolve.plan.method import MethodNode, Part
from fxsolve.plan.schedule import Apply, GaussSeidel, leaves, map_parts, name_of
from fxsolve.plan.verify import verify_schedule
from fxsolve.rewrite.joint import split_passes
from fxsolve.rewrite.recorded.memory import has_flags
from fxsolve.rewrite.restrict import restrict
from fxsolve.solvers.numbers import number_in


@dataclass(frozen=True)
class EmittedPasses:
    """Two modules: `forward` returns the program's `results` outputs and then `saved` values for `backward`.

    backward(saved..., cotangents...) returns the gradients that exist and the totals, in the order of `Backward`.
    """

    forward: Emitted
    backward: fx.GraphModule
    results: int
    plan: Plan
    system: System
    saved: int
    numbers: frozenset[str]
    flags: Flags
    restricted: dict[frozenset[int], "RestrictedPass"] = field(default_factory=dict)

    def backward_for(self, present: frozenset[int]) -> "RestrictedPass":
        """The backward pass for these cotangents alone, emitted when it is asked for first.

        Raises `PartitionError` if a loop that is left cannot be solved as planned.
        """
        if present not in self.restricted:
            self.restricted[present] = _emit_restricted(self, present)
        return self.restricted[present]


@dataclass(frozen=True)
class RestrictedPass:
    """backward(saved..., the cotangents that there are...) returns the results that are left, by their numbers."""

    backward: fx.GraphModule
    left: tuple[int, ...]


def emit_passes(program: Program, system: System, plan: Plan) -> EmittedPasses:
    """The two modules of a program with its backward pass. Raises `PartitionError` where they cannot be parted."""
    verify_schedule(plan.schedule, system)
    passes = split_passes(program, system)
    forward = emit_program(program, passes.forward, passes.results + len(passes.saved), plan, passes.numbers)
    gradients = program.example.outputs[passes.results :] if has_flags(program.module.graph) else ()
    flags = flags_of(passes.backward.outputs, gradients)
    late = _emit_backward(passes.backward, plan, passes.numbers, flags)
    saved = len(passes.saved)
    return EmittedPasses(forward, late, passes.results, plan, passes.backward, saved, passes.numbers, flags)


def _emit_backward(system: System, plan: Plan, numbers: frozenset[str], flags: Flags) -> fx.GraphModule:
    emission = ProgramEmission()
    emission.open_values(system.inputs)
    for name in (name for name in system.inputs if name in numbers):
        emission.values[name] = emission.call(number_in, emission.values[name])
    emit_equations(emission, system, plan, lambda: None)
    set_flags(emission, {name: flags[name] for name in system.outputs if name in flags})
    return emission.finish(system.outputs, "Backward")


def _emit_restricted(passes: EmittedPasses, present: frozenset[int]) -> RestrictedPass:
    cotangents = passes.system.inputs[passes.saved :]
    missing = [name for number, name in enumerate(cotangents) if number not in present]
    found = restrict(passes.system, cotangents, missing)
    left = tuple(k for k, name in enumerate(passes.system.outputs) if name not in found.missing)
    plan = _with_zeros(passes.plan, found.system)
    return RestrictedPass(_emit_backward(found.system, plan, passes.numbers, passes.flags), left)


def _with_zeros(plan: Plan, system: System) -> Plan:
    """The plan for a restricted system, in which blocks of zeros come first, and repeats may have lost their form."""
    planned = {leaf.block for leaf in leaves(plan.schedule) if isinstance(leaf, Apply)}
    zeros = [Apply(one.name) for one in system.equations if isinstance(one, Block) and one.name not in planned]
    repeats = {repeat.name: repeat for repeat in every_repeat(system)}
    fitting = map_parts(plan.schedule, lambda part: _fitting(part, repeats.get(name_of(part))))
    return replace(plan, schedule=GaussSeidel((*zeros, fitting)))


def _fitting(part: Part, repeat: Repeat | None) -> Part:
    """The part, or all steps in order where a repeat is no longer one that its method fits."""
    if repeat is None or not isinstance(part, MethodNode):
        return part
    try:
        part.check(repeat)
    except ScheduleError:
        return in_order(repeat)
    return part
