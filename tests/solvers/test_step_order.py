"""Orders of steps: what arrives for each run, where it is written, and what all steps make together."""

import pytest
import torch

from fxsolve.solvers.loop import Buffer
from fxsolve.solvers.step_order import ByLevel, InTurn, Lookahead, OneByOne

T = 6
ORDERS = [OneByOne(T), ByLevel((0, 1, 4, 6)), ByLevel((0, 6))]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_steps_come_back_as_they_arrived(order: InTurn) -> None:
    stack = torch.randn(T, 3)
    assert torch.equal(order.stacked(order.arriving(stack)), stack)
    assert [step for steps in order.runs for step in steps] == list(range(T))
    assert [order.runs[number].count(step) for step, number in enumerate(order.run_of_each())] == [1] * T


@pytest.mark.parametrize("index", [(0, 1, 2, 3, 4, 5), (7, 6, 5, 4, 3, 2), (3, 0, 5, 1, 4, 2)])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_each_step_writes_its_own_entry(order: InTurn, index: tuple[int, ...]) -> None:
    stack, buffer = torch.randn(T, 3), torch.zeros(3, 8)
    for run, found in enumerate(order.arriving(stack)):
        order.write(buffer, Buffer(0, 1, index), run, found)
    assert torch.equal(buffer[:, list(index)], stack.T)


def test_shorter_levels_repeat_their_last_step() -> None:
    order = ByLevel((0, 1, 4))
    assert order.together == 3
    assert [one.tolist() for one in order.arriving(torch.arange(4))] == [[0, 0, 0], [1, 2, 3]]


@pytest.mark.parametrize("width", range(1, T + 1))
def test_a_run_ahead_is_of_the_steps_up_to_its_own_or_of_the_first_ones(width: int) -> None:
    order = Lookahead(T, width)
    arrived = [one.tolist() for one in order.arriving(torch.arange(T))]
    assert arrived[0] == list(range(width))
    assert all(arrived[run] == list(range(run + 1 - width, run + 1)) for run in order.later)
    assert order.later[-1:] == range(T - 1, T)
    assert (order.together, order.times) == (width, width)
