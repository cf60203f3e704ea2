"""What a first call may spend on compiling steps, and how many steps go into one call."""

import pytest

from fxsolve.plan.budget import BUDGET_SECONDS, OP_SECONDS, RUNS, Budget, most_ops
from fxsolve.plan.methods.fused import FUSED_STEPS, choose_unroll
from fxsolve.plan.purse import GraphRequest

EACH = 100  # ops
COST = EACH * OP_SECONDS
PLENTY = 10**6


def admit(budget: Budget, loop: str, graph: object, saved: float) -> bool:
    """Whether a loop that takes so many seconds is compiled."""
    return not budget.refuse(GraphRequest(loop, graph, EACH, saved, saved, 0.0))


def test_many_small_loops_stop_at_the_budget_and_are_named() -> None:
    budget, saved = Budget(), COST / RUNS
    admitted = [admit(budget, f"loop{k}", k, saved) for k in range(20)]
    room = int(BUDGET_SECONDS / COST)
    assert admitted == [True] * room + [False] * (20 - room)
    assert budget.seconds == pytest.approx(room * COST)
    (note,) = budget.notes()
    assert note.startswith(f"steps were not compiled in loop{room}, loop{room + 1}, ")
    assert note.endswith(f"take about {room * COST:.0f} s already")


def test_a_large_loop_behind_many_small_ones_finds_room() -> None:
    budget = Budget(seconds=BUDGET_SECONDS)
    assert not admit(budget, "small", 0, COST / RUNS)
    assert admit(budget, "large", 1, (BUDGET_SECONDS + 2 * COST) / RUNS)
    assert budget.left_out == ["small"]


def test_steps_that_are_compiled_already_cost_nothing() -> None:
    budget = Budget()
    assert all(admit(budget, f"loop{k}", "the same", COST / RUNS) for k in range(100))
    assert budget.seconds == pytest.approx(COST)
    assert budget.notes() == ()


def test_long_loops_take_as_many_steps_into_a_call_as_there_may_be() -> None:
    assert choose_unroll(4096, 5, PLENTY) == FUSED_STEPS
    assert choose_unroll(1024, 20, PLENTY) == 10


def test_short_loops_leave_few_steps_uncompiled() -> None:
    assert choose_unroll(24, 32, PLENTY) == 2  # 6 in a call would leave 6 of the 24
    assert choose_unroll(25, 30, PLENTY, solves=100) == 6  # here they leave one
    assert choose_unroll(25, 30, PLENTY) == 3  # but take seconds to compile, for one solve in a run


def test_a_compilation_is_as_long_as_the_loop_is_worth() -> None:
    for saved in (1e-3, 2e-3, 4e-3):
        unroll = choose_unroll(1000, 10, most_ops(saved))
        assert unroll * 10 * OP_SECONDS <= RUNS * saved
        assert unroll >= 4
    assert choose_unroll(1000, 10, most_ops(1e-4)) == 0


def test_steps_of_hundreds_of_ops_are_compiled_in_long_loops_alone() -> None:
    assert choose_unroll(4, 413, most_ops(4 * 2e-3)) == 0
    assert choose_unroll(100, 413, most_ops(100 * 2e-3)) == 1


def test_loops_of_a_few_calls_are_not_compiled() -> None:
    assert choose_unroll(3, 32, PLENTY) == 0
