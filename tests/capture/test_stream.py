"""The stream of a run tells calls apart by all that is no tensor, and numbers by their types and bits."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.capture.stream import Listener, split_entry

aten = torch.ops.aten
X, Y = torch.zeros(2), torch.ones(3, 4, dtype=torch.float64)

INTEGERS = st.integers(-3, 3)
NUMBERS = st.one_of(INTEGERS, st.floats(allow_nan=False), st.complex_numbers(allow_nan=False))
PLAIN = st.one_of(NUMBERS, st.booleans(), st.none(), st.sampled_from([torch.float32, "sum", torch.strided]))
ARGUMENTS = st.lists(st.one_of(PLAIN, st.lists(PLAIN, max_size=3)), max_size=3)


def heard(*args: Any, function: Any = aten.add.Tensor, **kwargs: Any) -> Any:
    listener = Listener()
    listener.hear(function, args, kwargs)
    (entry,) = listener.stream().entries
    return entry


def exact(value: Any) -> Any:
    """Equal where the type and every bit of numbers are."""
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value).__name__, repr(value)


def numbers_in(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if type(value) in (int, float, complex) else []


def without_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [without_numbers(item) for item in value]
    return type(value).__name__, None if type(value) in (int, float, complex) else repr(value)


@settings(deadline=None)
@given(ARGUMENTS, ARGUMENTS)
def test_entries_are_equal_where_arguments_are_bit_for_bit(one: list[Any], other: list[Any]) -> None:
    assert (heard(*one) == heard(*other)) == (exact(one) == exact(other))


@settings(deadline=None)
@given(ARGUMENTS, ARGUMENTS)
def test_labels_are_equal_where_arguments_differ_in_numbers_alone(one: list[Any], other: list[Any]) -> None:
    labels = [split_entry(heard(*args))[0] for args in (one, other)]
    assert (labels[0] == labels[1]) == (without_numbers(one) == without_numbers(other))


@settings(deadline=None)
@given(ARGUMENTS)
def test_the_numbers_of_an_entry_come_back_in_order(args: list[Any]) -> None:
    assert exact(list(split_entry(heard(*args))[1])) == exact(numbers_in(args))


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0.0, -0.0), (1.0, 1 + 0j), (None, 0), ("1", 1)])
def test_numbers_that_python_holds_equal_are_told_apart(one: Any, other: Any) -> None:
    assert heard(one) != heard(other)
    assert heard(alpha=one) != heard(alpha=other)


def test_all_nans_are_one_number() -> None:
    assert heard(math.nan) == heard(float("nan"))
    assert math.isnan(split_entry(heard(math.nan))[1][0])


def test_tensors_leave_no_trace_of_their_values_shapes_or_count() -> None:
    assert heard(X) == heard(Y)
    assert heard([X]) == heard([Y, Y, X], function=aten.add.Tensor)
    assert heard([X, None]) != heard([X])  # an index of a dimension that is missing


def test_names_of_options_are_in_any_order() -> None:
    assert heard(a=1, b=2) == heard(b=2, a=1) != heard(a=2, b=1)


def test_the_size_of_a_literal_is_not_part_of_an_entry() -> None:
    lift = aten.lift_fresh.default
    assert heard(X, function=lift) == heard(torch.ones(5), function=lift) != heard(Y, function=lift)


def test_equal_entries_are_one_object_and_a_detach_is_none() -> None:
    listener = Listener()
    for _ in range(2):
        listener.hear(aten.add.Tensor, (X, 1.5), {})
        listener.hear(aten.detach.default, (X,), {})
    first, second = listener.stream().entries
    assert first is second


def test_calls_in_a_call_are_a_part_of_it() -> None:
    listener = Listener()
    listener.enter(aten.mul.Tensor, (X, 2), {})
    listener.enter(aten.neg.default, (X,), {})
    listener.leave()
    listener.leave()
    listener.enter(aten.exp.default, (X,), {})
    assert [entry[0] for entry in listener.stream().entries] == [aten.mul.Tensor, aten.exp.default]
