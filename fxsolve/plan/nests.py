"""Decide about the loops inside the steps of a loop, from what they read in its first step."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, fx

from fxsolve.ir.evaluate import read_value
from fxsolve.ir.nested import Nested, with_solvers
from fxsolve.ir.reads import is_autonomous
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import Values, fused_arguments, step_arguments, sweep_arguments
from fxsolve.lower.lower import results_of, step_loop
from fxsolve.lower.readable import readable, readable_copy
from fxsolve.lower.unroll import chunk_graph
from fxsolve.plan.decision import Choice
from fxsolve.plan.depth import longest_chain
from fxsolve.plan.method import Steps
from fxsolve.plan.probe import ProbeRun
from fxsolve.plan.structural import Known
from fxsolve.plan.tolerance import stop_of
from fxsolve.plan.trial import Situation
from fxsolve.plan.windows import lower
from fxsolve.rewrite.sums.fold import is_sum
from fxsolve.solvers.fixed_point import fixed_point
from fxsolve.solvers.fuse import Fused, fused_gauss_seidel
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.stop import Stop

UNKNOWN: Known = {}  # what a loop reads differs from one step of the loop around it to the next

Choose = Callable[[Situation], tuple[Choice, ProbeRun]]
Results = tuple[Tensor, ...]


def choose_inside(situation: Situation, choose: Choose) -> tuple[Choice, ...]:
    """Run the first step of a repeat, and `choose` for each loop that it runs."""
    repeat, values = situation.repeat, situation.values.named
    first = _FirstStep(repeat.body, situation, choose)
    first.run(*(read_value(read, 0, [], values) for read in repeat.reads))
    return tuple(first.choices)


def solved(repeat: Repeat, choices: Iterable[Choice], asked: Stop | None) -> Repeat:
    """The repeat with the loops inside its steps solved as was chosen."""
    by_name = {choice.repeat: choice for choice in choices}
    return with_solvers(repeat, lambda inner: _solver(inner, by_name[inner.name], asked))


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


def _solver(repeat: Repeat, choice: Choice, asked: Stop | None) -> Callable[..., Results]:
    """What runs a loop as was chosen; made once, and called in every step."""
    names = Nested(repeat).inputs
    positions = [results_of(repeat)[write.name] for write in repeat.writes]
    solve = _flat_solver(repeat, choice, asked)

    def run(*given: Any) -> Results:
        flat = solve(dict(zip(names, given, strict=True)))
        return tuple(flat[position] for position in positions)

    return run


def _flat_solver(repeat: Repeat, choice: Choice, asked: Stop | None) -> Callable[[Mapping[str, Any]], Results]:
    if choice.unroll:
        loop, chunk = step_loop(repeat), Fused(readable(chunk_graph(repeat, choice.unroll)))

        def fused(named: Mapping[str, Any]) -> Results:
            # Steps are compiled once, for the strides of the first solve.
            contiguous = Values({name: value.contiguous() for name, value in named.items()})
            backwards, arguments = fused_arguments(repeat, contiguous)
            return fused_gauss_seidel(loop, chunk, choice.unroll, *arguments.flat(), backwards)

        return fused
    # What only adds up is emitted as equations of its own; for timing the loop around it, it runs in order.
    if is_sum(repeat) or all(isinstance(part, Steps) for part in choice.parts):
        return _in_order(solved(repeat, choice.inside, asked))
    call = lower(repeat, choice.parts, asked or stop_of(repeat), longest_chain(repeat))
    return lambda named: call.solve(sweep_arguments(repeat, Values(named)))


def _in_order(repeat: Repeat) -> Callable[[Mapping[str, Any]], Results]:
    loop = step_loop(repeat)
    if not is_autonomous(repeat):
        return lambda named: gauss_seidel(loop, *step_arguments(repeat, Values(named)).flat())

    def settle(named: Mapping[str, Any]) -> Results:
        arguments = step_arguments(repeat, Values(named))
        return fixed_point(loop, arguments.initial, arguments.shared)

    return settle
