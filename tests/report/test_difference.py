"""How far two results are from one another: equal values, bits, forms and types."""

import math

import pytest
import torch

from fxsolve.report.data import Check
from fxsolve.report.difference import compare, within

X = torch.tensor([1.0, 2.0, 3.0])


def test_equal_results_are_bitwise_equal() -> None:
    assert compare((X, {"n": 3}), (X.clone(), {"n": 3}), 0.0) == Check(0.0, bitwise=True, tolerance=0.0)


def test_the_largest_difference_over_all_leaves_counts() -> None:
    check = compare([X, X + 0.25], [X, X], 0.5)
    assert (check.max_difference, check.bitwise) == (0.25, False)


def test_nan_equals_nan_and_infinity_equals_itself() -> None:
    odd = torch.tensor([math.nan, math.inf, -math.inf])
    assert compare(odd, odd.clone(), 0.0) == Check(0.0, bitwise=True, tolerance=0.0)


def test_zeros_of_unlike_sign_do_not_differ_but_are_not_bitwise_equal() -> None:
    assert compare(torch.tensor([-0.0]), torch.tensor([0.0]), 0.0) == Check(0.0, bitwise=False, tolerance=0.0)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (X, X[:2]),
        (X, X.double()),
        (X, 1.0),
        ([X], (X,)),
        (torch.tensor([math.nan]), torch.tensor([0.0])),
        (torch.tensor([math.inf]), torch.tensor([0.0])),
        ("a", "b"),
    ],
)
def test_results_that_cannot_be_compared_are_infinitely_far_apart(result: object, expected: object) -> None:
    check = compare(result, expected, 1e30)
    assert check.max_difference == math.inf
    assert not check.bitwise
    assert not within(check)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16, torch.complex64])
def test_every_dtype_can_be_compared(dtype: torch.dtype) -> None:
    ones, zeros = torch.ones(4, dtype=dtype), torch.zeros(4, dtype=dtype)
    assert compare(ones, ones.clone(), 0.0).bitwise
    assert compare(ones, zeros, 0.0).max_difference == 1.0


def test_empty_and_non_contiguous_tensors_compare() -> None:
    square = torch.arange(9.0).reshape(3, 3)
    assert compare((torch.empty(0), square.T), (torch.empty(0), square.T.contiguous()), 0.0).bitwise


def test_large_integers_differ_by_one() -> None:
    assert compare(torch.tensor([2**60 + 1]), torch.tensor([2**60]), 0.0).max_difference == 1.0


def test_a_difference_is_within_its_tolerance_up_to_and_including_it() -> None:
    assert within(Check(1e-5, False, 1e-5))
    assert not within(Check(1.1e-5, False, 1e-5))
