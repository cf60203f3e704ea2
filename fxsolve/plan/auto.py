"""Choose a schedule for a whole system by solving it once, equation by equation, and measuring as it goes."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fxsolve.capture.program import Program, recorded_attribute
from fxsolve.ir.spec import Block, Repeat, System
from fxsolve.lower.arguments import Values
from fxsolve.lower.readable import readable_copy
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.plan.budget import Budget
from fxsolve.plan.decision import Choice, Decision
from fxsolve.plan.methods import METHODS, Methods
from fxsolve.plan.probe import ProbeRun
from fxsolve.plan.purse import Purse
from fxsolve.plan.rules import choose
from fxsolve.plan.schedule import Apply, GaussSeidel, Schedule
from fxsolve.plan.structural import Known
from fxsolve.plan.tolerance import stop_of
from fxsolve.plan.trial import Situation
from fxsolve.solvers.stop import Stop

Chosen = Callable[[Repeat, Mapping[str, Tensor]], tuple[Choice, ProbeRun]]


def decide(
    system: System,
    values: Mapping[str, Tensor],
    structural: Known,
    backend: str = "inductor",
    stop: Stop | None = None,
    methods: Methods = METHODS,
    purse: Purse | None = None,
    table: Facts = FACTS,
) -> Decision:
    """The schedule that the decision table of `rules` gives on `values`, one for each input of the system.

    `structural` is what is known of the values in every run. With `backend="inductor"` the steps of overhead-bound
    loops may be compiled, which takes seconds: the `purse` says now or later. `table` is what is known of each op.
    """
    paying = purse or Budget()

    def situation(repeat: Repeat, named: Mapping[str, Tensor]) -> Situation:
        test = stop or stop_of(repeat)
        return Situation(repeat, Values(named), structural, test, backend, stop, 1, paying, methods, table)

    with torch.no_grad():
        schedule, choices = _solve_once(system, dict(values), lambda *given: choose(situation(*given)))
    every = tuple(one for choice in choices for one in choice.all())
    return Decision(schedule, every, paying.notes(), paying.offers)


def _solve_once(system: System, named: dict[str, Tensor], chosen: Chosen) -> tuple[Schedule, list[Choice]]:
    """Solve all equations in order; the schedule, and the choice for each repeat."""
    leaves: list[Schedule] = []
    choices: list[Choice] = []
    for equation in system.equations:
        if isinstance(equation, Block):
            # The calls as they are emitted: what a sweep hands over may be laid out in another way.
            results = readable_copy(equation.body)(*(named[name] for name in equation.inputs))
            named.update(zip(equation.outputs, results, strict=True))
            leaves.append(Apply(equation.name))
            continue
        choice, run = chosen(equation, named)
        named.update(run.results)
        choices.append(choice)
        leaves += choice.parts
    return GaussSeidel(tuple(leaves)), choices


def example_values(program: Program) -> dict[str, Tensor]:
    """The values that a system starts from: example inputs, noise, cotangents, and what the model owns."""
    values: dict[str, Tensor] = {}
    arriving = iter((*program.example.inputs, *program.example.noise, *program.example.cotangents))
    for node in program.module.graph.nodes:
        if node.op == "placeholder":
            values[node.name] = next(arriving)
        elif node.op == "get_attr":
            values[node.name] = recorded_attribute(program, node.target)
    return values
