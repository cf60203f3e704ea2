"""A method, and an option of one, are added from outside: a run-time function, its node, and a set that has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.ir.evaluate import evaluate as evaluate_system
from fxsolve.ir.spec import Repeat
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import Iterative, MethodNode, Option, Part, Steps, whole
from fxsolve.plan.methods import METHODS
from fxsolve.plan.proofs import BATCHED, CAUSAL, Requirement
from fxsolve.plan.schedule import parts_of
from fxsolve.plan.solver import LoopSolver, Solver
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.trial import Priced, Refined, Situation, Trial, Weighed
from fxsolve.plan.windows import short, strictest, window_bounds
from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method as Iteration
from fxsolve.solvers.iterate import State, Verdict, evaluate, final_steps, judge
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.solution import observe
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Window, first_guess
from fxsolve.solvers.windows import Initial, receive, solve_windows
from fxsolve.stages import emit_system, schedule_system
from tests.ir.by_hand import RNN, T, values

# What would be `solvers/damped.py`.


@dataclass(frozen=True)
class DampedSweeps(Iteration):
    """S <- S + omega (F(S) - S), but for the steps that are known to be final."""

    stop: Stop
    omega: float

    def init(self, window: Window) -> State:
        return evaluate(window, first_guess(window), self.stop, (), None)

    def step(self, state: State) -> State:
        final = final_steps(state).reshape(-1, 1, 1)
        moved = {k: old + self.omega * (state.values[k] - old) for k, old in state.point.items()}
        point = {k: torch.where(final, state.values[k], value) for k, value in moved.items()}
        return evaluate(state.window, point, self.stop, state.sizes, None)

    def terminate(self, state: State) -> Verdict | None:
        return judge(state, self.stop)


def damped(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    bounds: Sequence[int],
    omega: float,
) -> Outputs:
    """As `jacobi`, with damped sweeps."""
    method = DampedSweeps(Stop(atol, rtol, max_sweeps), omega)
    equations = receive(loop, initial, buffers, per_step, shared, method.stop, batches_between(bounds))
    return solve_windows("damped", method, equations, bounds)


# What would be `methods/damped.py`.


@dataclass(frozen=True)
class Damped(Iterative, Priced):
    """Sweeps that go half of the way."""

    name: ClassVar[str] = "damped"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, BATCHED)
    by_name: ClassVar[bool] = True

    child: Steps
    stop: Stop | None = None

    @property
    def factor(self) -> float:
        return 0.5

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        parts = (cls(whole(situation.repeat)),)
        return [Trial(Candidate(str(parts[0]), "eager", weighed.total / 100, "derived", "a guess"), parts, 1)]

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        bounds = window_bounds(parts)
        options = (*strictest(repeat, parts, stop), short(bounds), self.factor)
        return LoopSolver(repeat, damped, sweep_loop(repeat, bounds), options)


@dataclass(frozen=True)
class DampedBy(Damped):
    """Sweeps that go a part `omega` of the way: an option is a field, and how it is read."""

    options: ClassVar[tuple[Option, ...]] = (Option("omega", lambda reader: reader.real_number()),)

    omega: float = 0.5

    @property
    def factor(self) -> float:
        return self.omega


WITH_DAMPED, WITH_OPTION = (*METHODS, Damped), (*METHODS, DampedBy)
WHOLE = f"cell[0:{T}]"


def solved(text: str, methods: Any) -> tuple[str, list[str]]:
    """The schedule, and the methods that ran; the values are those of the steps in order."""
    system = RNN.system()
    named = dict(zip(system.inputs, values(), strict=True))
    decision = schedule_system(system, text, named, backend="eager", methods=methods)
    with torch.no_grad(), observe() as seen:
        (result,) = emit_system(system, decision)(*values())
    (expected,) = evaluate_system(system, named)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    return str(decision.schedule), [one.method for one in seen]


@pytest.mark.parametrize("text", ["damped", "damped(cell)", f"damped({WHOLE})"])
def test_a_method_from_outside_is_named_verified_lowered_and_run(text: str) -> None:
    planned, ran = solved(text, WITH_DAMPED)
    assert planned == f"gs(inputs, weights, damped({WHOLE}), total)"
    assert ran == ["damped"]
    assert solved("damped(cell[0:12:5], atol=1e-07, rtol=0)", WITH_DAMPED)[1] == ["damped"]


def test_an_automatic_choice_weighs_it() -> None:
    planned, ran = solved("auto", WITH_DAMPED)
    assert planned == f"gs(inputs, weights, damped({WHOLE}), total)"
    assert ran == ["damped"]


def test_an_option_from_outside_is_read_written_and_handed_to_the_solver() -> None:
    planned, ran = solved("damped(cell, omega=0.75)", WITH_OPTION)
    assert planned == f"gs(inputs, weights, damped({WHOLE}, omega=0.75), total)"
    assert ran == ["damped"]
    system = RNN.system()
    schedule = parse_schedule(planned, system, methods=WITH_OPTION)
    assert str(schedule) == planned
    assert str(parse_schedule("damped(cell, omega=0.5)", system, methods=WITH_OPTION)).count("omega") == 0
    assert parts_of(schedule, "cell") == (DampedBy(Steps("cell", 0, T), None, 0.75),)


def test_what_is_not_in_the_set_is_unknown() -> None:
    for methods in (METHODS, WITH_DAMPED[:1]):
        with pytest.raises(ScheduleError, match="there is no equation 'damped'"):
            parse_schedule("damped(cell)", RNN.system(), methods=methods)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_a_method_can_tell_an_automatic_choice_is_asked_for(method: type[MethodNode]) -> None:
    assert hasattr(method, "price") == issubclass(method, Priced)
    assert hasattr(method, "refine") == issubclass(method, Refined)
