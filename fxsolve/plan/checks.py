"""What a program asks of every step and finds true, so that a run in which it is not true is not used."""

import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.ir.picks import picked_steps
from fxsolve.ir.spec import AllSteps, System, inputs_of, outputs_of


def checks_that_hold(program: Program, system: System) -> dict[str, Tensor]:
    """The stacks of all steps of which a program reads True and makes nothing else: name -> the same in every run."""
    first = len(system.outputs) - len(program.guards)
    pairs = zip(system.outputs[first:], program.guards, strict=True)
    used = {*system.outputs[:first], *(name for equation in system.equations for name in inputs_of(equation))}
    holds = {name for name, guard in pairs if guard.expected is True} - used
    picked = picked_steps(system)
    others = {stack for name, (stack, _) in picked.items() if name not in holds}.union(system.outputs)
    for equation in system.equations:
        if not picked.keys() >= set(outputs_of(equation)):
            others.update(inputs_of(equation))
    writes = [(repeat, write) for repeat in system.repeats for write in repeat.writes if isinstance(write, AllSteps)]
    stacks = {stack for stack, _ in picked.values()} - others
    return {write.name: torch.ones(repeat.length, dtype=torch.bool) for repeat, write in writes if write.name in stacks}
