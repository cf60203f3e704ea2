"""Decide about the loops inside the steps of a loop, from what they read in its first step."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import fx

from fxsolve.ir.evaluate import read_value
from fxsolve.ir.nested import Nested
from fxsolve.lower.arguments import Values
from fxsolve.lower.readable import readable_copy
from fxsolve.plan.decision import Choice
from fxsolve.plan.probe import ProbeRun
from fxsolve.plan.proofs import UNKNOWN
from fxsolve.plan.tolerance import stop_of
from fxsolve.plan.trial import Situation

Choose = Callable[[Situation], tuple[Choice, ProbeRun]]


def choose_inside(situation: Situation, choose: Choose) -> tuple[Choice, ...]:
    """Run the first step of a repeat, and `choose` for each loop that it runs."""
    repeat, values = situation.repeat, situation.values.named
    first = _FirstStep(repeat.body, situation, choose)
    first.run(*(read_value(read, 0, [], values) for read in repeat.reads))
    return tuple(first.choices)


class _FirstStep(fx.Interpreter):
    """Runs a body and decides about every loop that it meets."""

    def __init__(self, body: fx.GraphModule, situation: Situation, choose: Choose) -> None:
        super().__init__(readable_copy(body))
        self.choices: list[Choice] = []
        self._situation = situation
        self._choose = choose

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(target, Nested):
            return super().call_function(target, args, kwargs)
        repeat, asked = target.repeat, self._situation.asked
        values, stop = Values(dict(zip(target.inputs, args, strict=True))), asked or stop_of(repeat)
        solves = self._situation.solves * self._situation.repeat.length
        situation = replace(self._situation, repeat=repeat, values=values, structural=UNKNOWN, stop=stop, solves=solves)
        choice, run = self._choose(situation)
        self.choices.append(choice)
        return tuple(run.results[write.name] for write in repeat.writes)
