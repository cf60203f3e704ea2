"""Argument slots follow one rule, and the rule gives back what every step read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.structure.slots import (
    Internal,
    Irregular,
    PeriodicWindow,
    SameValue,
    Slot,
    Value,
    Varying,
    classify_slots,
    count_irregular,
)

START, PERIOD = 10, 4


def classify(calls: list[int], outputs: list[int] | None = None) -> Slot:
    """The rule of one slot from what it reads, step by step."""
    window = PeriodicWindow(START, PERIOD, len(calls))
    columns = [np.array(column)[:, None] for column in (calls, outputs or [-1] * len(calls))]
    (slot,) = classify_slots(window, *columns)
    irregular, _ = count_irregular(window, *columns)
    assert irregular == isinstance(slot, Irregular)
    return slot


def replay(slot: Slot, trips: int) -> list[Value]:
    """What a slot with this rule reads at each step."""
    match slot:
        case SameValue(value):
            return [value] * trips
        case Varying(values):
            return list(values)
        case Internal(position, output, lag, initial):
            later = [Value(START + (t - lag) * PERIOD + position, output) for t in range(lag, trips)]
            return [*initial, *later]
    raise AssertionError(slot)


def inside(step: int, position: int) -> int:
    return START + step * PERIOD + position


def test_one_outside_value_is_the_same() -> None:
    assert classify([-3, -3, -3]) == SameValue(Value(-3, -1))


def test_different_outside_values_vary() -> None:
    assert classify([2, 5, 3]) == Varying((Value(2, -1), Value(5, -1), Value(3, -1)))


def test_different_outputs_of_one_outside_call_vary() -> None:
    assert classify([2, 2, 2], [0, 1, 2]) == Varying((Value(2, 0), Value(2, 1), Value(2, 2)))


def test_a_value_of_the_step_itself_has_lag_0() -> None:
    assert classify([inside(t, 1) for t in range(4)]) == Internal(1, -1, 0, ())


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_value_of_an_earlier_step_has_a_lag_and_initial_values(lag: int) -> None:
    first = [-1 - k for k in range(lag)]
    calls = [*first, *(inside(t - lag, 3) for t in range(lag, 6))]
    assert classify(calls) == Internal(3, -1, lag, tuple(Value(call, -1) for call in first))


@pytest.mark.parametrize(
    "calls",
    [
        [inside(0, 1), inside(0, 1), inside(0, 1), inside(0, 1)],
        [-1, inside(0, 3), inside(0, 3), inside(2, 3)],
        [-1, inside(0, 3), -1, inside(2, 3)],
        [-1, inside(0, 3), inside(1, 2), inside(2, 3)],
        [-1, inside(0, 3), inside(1, 3), -1],
        [inside(0, 1), inside(1, 1), inside(2, 1), inside(2, 1)],
    ],
    ids=["first step again", "skips one", "outside between", "another call", "outside last", "lag grows"],
)
def test_a_read_by_two_rules_is_irregular(calls: list[int]) -> None:
    assert isinstance(classify(calls), Irregular)


def test_another_output_of_the_same_call_is_irregular() -> None:
    calls = [-1, inside(0, 3), inside(1, 3), inside(2, 3)]
    assert isinstance(classify(calls, [-1, 0, 1, 0]), Irregular)


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """What a slot reads at each step: anything that precedes the reading call."""
    trips = draw(st.integers(3, 7))
    calls, outputs = [], []
    for t in range(trips):
        outside = st.integers(-3, START - 1)
        earlier = st.builds(inside, st.integers(0, t), st.integers(0, PERIOD - 1))
        calls.append(draw(outside | earlier))
        outputs.append(draw(st.sampled_from([-1, 0])))
    return calls, outputs


@st.composite
def regular(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    trips, lag, position = draw(st.integers(3, 7)), draw(st.integers(0, 2)), draw(st.integers(0, PERIOD - 1))
    first = [draw(st.integers(-3, START - 1)) for _ in range(lag)]
    return [*first, *(inside(t - lag, position) for t in range(lag, trips))], [-1] * trips


@settings(max_examples=300, deadline=None)
@given(columns() | regular())
def test_a_rule_gives_back_what_was_read(case: tuple[list[int], list[int]]) -> None:
    calls, outputs = case
    slot = classify(calls, outputs)
    if not isinstance(slot, Irregular):
        assert replay(slot, len(calls)) == [Value(*pair) for pair in zip(calls, outputs, strict=True)]


@settings(max_examples=100, deadline=None)
@given(regular())
def test_a_regular_read_is_never_called_irregular(case: tuple[list[int], list[int]]) -> None:
    assert isinstance(classify(*case), Internal)


def test_carried_values_are_counted_once_each() -> None:
    """Two slots that read one carried value, one that reads another, one without a carry."""
    window = PeriodicWindow(START, PERIOD, 3)
    carried = [-1, inside(0, 3), inside(1, 3)]
    other = [-2, inside(0, 2), inside(1, 2)]
    calls = np.array([carried, carried, other, [-5, -5, -5]]).T
    assert count_irregular(window, calls, np.full_like(calls, -1)) == (0, 2)
