"""Steps are taken by levels where these are few, or asked for, and of two steps or more."""

import pytest
import torch

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.plan.causality import judge
from fxsolve.plan.orders import WIDEST, step_order
from fxsolve.solvers.step_order import ByLevel, OneByOne
from tests.leveled import far_back
from tests.lower.incremental.steps import sampler
from tests.samplers import wave

LENGTH = 20


def far(distance: int) -> tuple[Repeat, tuple[int, ...]]:
    repeat, structural = sampler(*far_back(distance, LENGTH))
    return repeat, judge(repeat, structural).latest


@torch.no_grad()
def test_few_levels_are_taken_and_many_are_not() -> None:
    assert step_order(*far(4), None) == ByLevel((0, 4, 8, 12, 16, 20))
    assert step_order(*far(2), None) == ByLevel(tuple(range(0, 21, 2)))
    assert step_order(*far(1), None) == OneByOne(LENGTH)


@torch.no_grad()
def test_levels_are_those_that_are_asked_for() -> None:
    repeat, latest = far(4)
    assert step_order(repeat, latest, LENGTH) == OneByOne(LENGTH)
    assert step_order(repeat, latest, 5) == step_order(repeat, latest, 7) == ByLevel((0, 4, 8, 12, 16, 20))
    with pytest.raises(PartitionError, match="4 levels are fewer than the 5"):
        step_order(repeat, latest, 4)


@torch.no_grad()
def test_a_level_that_is_much_wider_than_others_is_several() -> None:
    repeat, _ = far(4)
    latest = tuple(range(-1, 2)) + (2,) * (LENGTH - 3)  # 0, 1, 2, and all the rest at once
    mean = LENGTH / 4
    assert step_order(repeat, latest, None) == ByLevel((0, 1, 2, 3, 20))
    assert WIDEST * mean > LENGTH


@torch.no_grad()
def test_a_chain_through_all_steps_has_one_level_for_each() -> None:
    repeat, structural = sampler(*wave())
    assert step_order(repeat, judge(repeat, structural).latest, None) == OneByOne(repeat.length)
