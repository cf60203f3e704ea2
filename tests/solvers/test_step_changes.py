import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.solvers.step_changes import find_front
from fxsolve.solvers.stop import Stop

changes = st.lists(st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0]), min_size=1, max_size=8)


def front(new: list[float], before: list[float] | None, stop: Stop):
    values = torch.tensor(new, dtype=torch.float64).unsqueeze(1)
    known = None if before is None else torch.tensor(before, dtype=torch.float64)
    return find_front([(values, torch.zeros_like(values))], known, stop, len(new))


@given(changes)
def test_without_a_rate_only_equal_steps_are_leading(new: list[float]) -> None:
    found = front(new, None, Stop(1e-2))
    count = next((t for t, change in enumerate(new) if change != 0), len(new))
    assert (found.leading, found.exact, found.size) == (count, count, max(new))


@given(changes, changes, st.floats(1e-8, 1e-2))
def test_a_step_leads_where_its_change_times_the_factor_of_the_rate_meets_the_test(
    new: list[float], before: list[float], atol: float
) -> None:
    before = before[: len(new)]
    now, then = max(new[: len(before)]), max(before)
    factor = max(1.0, now / (then - now)) if now < then else math.inf
    good = [change == 0 or (t < len(before) and change * factor <= atol) for t, change in enumerate(new)]
    wanted = next((t for t, is_good in enumerate(good) if not is_good), len(new))
    assert front(new, before, Stop(atol)).leading == wanted


def test_the_relative_tolerance_is_one_of_the_largest_new_value() -> None:
    new = torch.tensor([[100.0], [1.0]])
    for change, leading in ((0.05, 2), (0.95, 2), (1.05, 0)):
        found = find_front([(new, new - change)], torch.tensor([10.0, 10.0]), Stop(0.0, 1e-2), 2)
        assert (found.leading, found.exact) == (leading, 0)


@pytest.mark.parametrize("stop", [Stop(), Stop(9.0, 9.0)])
def test_discrete_steps_lead_only_where_they_are_equal(stop: Stop) -> None:
    new, old = torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4])
    floats = torch.ones(3)
    found = find_front([(new, old), (floats, floats)], torch.ones(3), stop, 3)
    assert (found.leading, found.exact, found.size) == (2, 2, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_has_no_size(bad: float) -> None:
    found = front([0.0, bad, 0.0], [1.0, 1.0, 1.0], Stop(1.0))
    assert found.leading == 1
    assert math.isnan(found.size)


def test_no_rate_follows_from_a_change_that_was_not_finite() -> None:
    assert front([1e-9, 1.0], [math.inf, 2.0], Stop(1e-6)).leading == 0
    assert front([1e-9, 1.0], [4.0, 2.0], Stop(1e-6)).leading == 1
