"""Choose a schedule for a whole system by solving it once, equation by equation, and measuring as it goes."""

import torch
from torch import Tensor

from fxsolve.capture.program import Program, recorded_attribute
from fxsolve.ir.spec import Block, System
from fxsolve.lower.arguments import Values
from fxsolve.lower.readable import readable_copy
from fxsolve.plan.budget import Budget
from fxsolve.plan.causality import reads_buffer
from fxsolve.plan.decision import Choice, Decision
from fxsolve.plan.rules import choose
from fxsolve.plan.schedule import Apply, GaussSeidel, Schedule
from fxsolve.plan.structural import structural_values
from fxsolve.plan.tolerance import stop_of
from fxsolve.plan.trial import Situation
from fxsolve.solvers.stop import Stop


def decide(program: Program, system: System, backend: str = "inductor", stop: Stop | None = None) -> Decision:
    """The schedule that the decision table of `rules` gives on the program's example inputs.

    With `backend="inductor"` the steps of overhead-bound loops may be compiled, which takes seconds.
    """
    with torch.no_grad():
        return _decide(program, system, backend, stop)


def _decide(program: Program, system: System, backend: str, stop: Stop | None) -> Decision:
    named = _given(program)
    structural = structural_values(program, system) if any(map(reads_buffer, system.repeats)) else {}
    leaves: list[Schedule] = []
    choices: list[Choice] = []
    sequential = 0.0
    budget = Budget()
    for equation in system.equations:
        if isinstance(equation, Block):
            # The calls as they are emitted: what a sweep hands over may be laid out in another way.
            results = readable_copy(equation.body)(*(named[name] for name in equation.inputs))
            named.update(zip(equation.outputs, results, strict=True))
            leaves.append(Apply(equation.name))
            continue
        test = stop or stop_of(equation)
        choice, run = choose(Situation(equation, Values(named), structural, test, backend, stop, budget=budget))
        named.update(run.results)
        choices += choice.all()
        sequential += choice.sequential_seconds
        leaves += choice.parts
    return Decision(GaussSeidel(tuple(leaves)), tuple(choices), budget.notes(), sequential)


def _given(program: Program) -> dict[str, Tensor]:
    """The values that a system starts from: example inputs, noise, cotangents, and what the model owns."""
    values: dict[str, Tensor] = {}
    arriving = iter((*program.example.inputs, *program.example.noise, *program.example.cotangents))
    for node in program.module.graph.nodes:
        if node.op == "placeholder":
            values[node.name] = next(arriving)
        elif node.op == "get_attr":
            values[node.name] = recorded_attribute(program, node.target)
    return values
