"""Gradients of some results alone: what autograd finds, whichever way the backward pass can give it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fxsolve.runtime.gradients import Derivatives, Differentiable, Gradients, Tensors
from fxsolve.runtime.partial_gradients import agree, choose, differentiate_some
from tests.runtime.building import differentiable, numbers, recurrence, wanted

FIRST = frozenset({0})
COTANGENTS: Gradients = (numbers(2), None)


def two_results(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return recurrence(x).sum(0), torch.sqrt(y).cumsum(0)


def chosen(program: Callable[..., tuple[Tensor, ...]], x: Tensor, y: Tensor) -> tuple[Differentiable, Tensors]:
    function, recorded = differentiable(program, x, y)
    with torch.no_grad():
        _, saved = function.solve(recorded.example.inputs, [])
        choose(function, saved, COTANGENTS)
    return function, saved


def test_calls_for_other_results_are_left_out_where_that_gives_the_same() -> None:
    x, y = wanted(6, 2), torch.ones(3, dtype=torch.float64, requires_grad=True)
    function, saved = chosen(two_results, x, y)
    assert function.learned.some == {FIRST: "left out"}
    with torch.no_grad():
        found = differentiate_some(function, saved, COTANGENTS)
    assert found is not None
    assert found.gradients[1] is None
    (expected,) = torch.autograd.grad(two_results(x, y)[0], x, COTANGENTS[0])
    assert found.gradients[0] is not None
    torch.testing.assert_close(found.gradients[0], expected, rtol=1e-13, atol=1e-13)


def test_what_was_chosen_is_not_looked_for_again() -> None:
    function, saved = chosen(two_results, wanted(6, 2), torch.ones(3, dtype=torch.float64, requires_grad=True))
    function.learned.some[FIRST] = "zeros"
    choose(function, saved, COTANGENTS)
    assert function.learned.some == {FIRST: "zeros"}


def test_zeros_that_meet_an_infinite_derivative_are_left_to_the_original() -> None:
    function, saved = chosen(two_results, wanted(6, 2), torch.zeros(3, dtype=torch.float64, requires_grad=True))
    function.learned.some[FIRST] = "zeros"
    shared = Derivatives((torch.ones(2), torch.tensor([torch.nan])), ())
    function = _giving(function, shared)
    assert differentiate_some(function, saved, COTANGENTS) is None


def _giving(function: Differentiable, found: Derivatives) -> Differentiable:
    object.__setattr__(function, "differentiate", lambda saved, cotangents: found)
    return function


class AddsOne(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # pyright: ignore
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # pyright: ignore
        return gradient + 1


def test_a_derivative_that_makes_something_of_zeros_is_left_to_the_original() -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return recurrence(x).sum(0), recurrence(AddsOne.apply(y))  # pyright: ignore

    function, saved = chosen(program, wanted(6, 2), wanted(5, 2))
    assert function.learned.some == {FIRST: "original"}
    assert differentiate_some(function, saved, COTANGENTS) is None


ONE = torch.ones(2, dtype=torch.float64)
INFINITE = torch.tensor([1.0, torch.nan], dtype=torch.float64)


@pytest.mark.parametrize(
    ("some", "whole", "expected"),
    [
        ((ONE, None), (ONE, None), True),
        ((ONE + 1e-15, None), (ONE, None), True),
        ((ONE + 1e-9, None), (ONE, None), False),
        ((ONE * 2, None), (INFINITE, None), False),
        ((torch.tensor([1.0, 7.0], dtype=torch.float64), None), (INFINITE, None), True),
        ((INFINITE, None), (ONE, None), False),
        ((None, None), (None, None), True),
    ],
)
def test_two_ways_agree_up_to_rounding_where_the_whole_is_finite(
    some: Gradients, whole: Gradients, expected: bool
) -> None:
    assert agree(Derivatives(some, ()), Derivatives(whole, ())) is expected
