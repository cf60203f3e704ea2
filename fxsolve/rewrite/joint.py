"""The system of a program and its backward pass, taken apart into the two."""

from dataclasses import dataclass

from fxsolve.capture.program import Program
from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Equation, System, inputs_of, numbers_written, outputs_of


@dataclass(frozen=True)
class Passes:
    """Two systems that together give what the one gave.

    `forward` gives the `results` outputs of the program, then the values `saved` for the backward pass, then those that
    guards watch. `backward` starts from the saved values and the cotangents, and gives the gradients and totals. Of the
    saved values, `numbers` are Python's.
    """

    forward: System
    backward: System
    results: int
    saved: tuple[str, ...]
    numbers: frozenset[str]


def split_passes(program: Program, system: System) -> Passes:
    """Every equation that depends on a cotangent, or is needed by such only, goes to the backward pass.

    Raises `PartitionError` if a guard depends on a cotangent: it could not be checked before the result is returned.
    """
    backward = program.backward
    assert backward is not None
    results = len(program.example.outputs) - backward.results
    gradients = system.outputs[results : len(program.example.outputs)]
    wanted = (*system.outputs[:results], *system.outputs[len(program.example.outputs) :])
    cotangents = tuple(name for name, role in program.roles.items() if role == "cotangent")
    early = _needed(_independent(system, cotangents), wanted)
    names = {equation.name for equation in early}
    late = tuple(equation for equation in system.equations if equation.name not in names)
    given = {name for equation in early for name in outputs_of(equation)} | set(system.inputs) - set(cotangents)
    if not given.issuperset(wanted):
        raise PartitionError("the backward pass reads values of tensors that depend on the gradient it is given")
    reads = [name for equation in late for name in inputs_of(equation)]
    saved = tuple(dict.fromkeys(name for name in (*reads, *gradients) if name in given))
    forward_outputs = (*system.outputs[:results], *saved, *system.outputs[len(program.example.outputs) :])
    inputs = tuple(name for name in system.inputs if name not in cotangents)
    return Passes(
        System(inputs, tuple(early), forward_outputs),
        System((*saved, *cotangents), late, gradients),
        results,
        saved,
        frozenset(name for equation in early for name in numbers_written(equation) if name in saved),
    )


def _independent(system: System, names: tuple[str, ...]) -> list[Equation]:
    """The equations that do not depend on any of the named values."""
    reached = set(names)
    free: list[Equation] = []
    for equation in system.equations:
        if reached.isdisjoint(inputs_of(equation)):
            free.append(equation)
        else:
            reached.update(outputs_of(equation))
    return free


def _needed(equations: list[Equation], wanted: tuple[str, ...]) -> list[Equation]:
    """The equations that any of the named values depends on."""
    live = set(wanted)
    kept: list[Equation] = []
    for equation in reversed(equations):
        if not live.isdisjoint(outputs_of(equation)):
            kept.append(equation)
            live.update(inputs_of(equation))
    return kept[::-1]
