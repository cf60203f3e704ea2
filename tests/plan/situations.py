"""One loop of a program as the plan meets it."""

from dataclasses import replace

import torch

from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Repeat, inputs_of, outputs_of
from fxsolve.lower.arguments import Values
from fxsolve.plan.methods import METHODS
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.plan.trial import Situation
from fxsolve.solvers.stop import default_stop
from fxsolve.stages import partition
from tests.loops.programs import Sample, given_values


def situation(sample: Sample, name: str | None = None, backend: str = "eager") -> Situation:
    """The one recurrence of a program, or the repeat called `name`, with all values before it."""
    program = sample.captured()
    system = partition(program).system
    named = given_values(program)
    for equation in system.equations:
        wanted = equation.name == name if name else isinstance(equation, Repeat) and has_carry(equation)
        if isinstance(equation, Repeat) and wanted:
            structural = known_values(system, constants_of(program))
            return Situation(equation, Values(named), structural, default_stop(torch.float32), backend, methods=METHODS)
        part = replace(system, inputs=inputs_of(equation), equations=(equation,), outputs=outputs_of(equation))
        named.update(zip(outputs_of(equation), evaluate(part, named), strict=True))
    raise AssertionError("no such repeat")
