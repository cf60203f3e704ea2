"""Emitted passes as functions of tensors: the gradients are those of the program, whichever results are used."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.ir.tensor_spec import spec_of
from fxsolve.runtime.gradients import Gradients, Original, lay_out, present_in, zeros_of
from tests.runtime.building import differentiable, numbers, recurrence, wanted

CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def two_results(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return recurrence(x).sum(0), recurrence(x * y)


COTANGENTS = {
    "both": (numbers(2), numbers(6, 2)),
    "the first": (numbers(2), None),
    "the second": (None, numbers(6, 2)),
}


def expected_gradients(x: Tensor, y: Tensor, cotangents: Gradients) -> tuple[Tensor | None, ...]:
    pairs = [(out, one) for out, one in zip(two_results(x, y), cotangents, strict=True) if one is not None]
    outputs, given = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, [x, y], given, allow_unused=True)


@pytest.mark.parametrize("cotangents", COTANGENTS.values(), ids=COTANGENTS)
def test_both_ways_without_a_cotangent_give_what_autograd_gives(cotangents: Gradients) -> None:
    x, y = wanted(6, 2), wanted(1)
    function, program = differentiable(two_results, x, y)
    with torch.no_grad():
        outputs, saved = function.solve(program.example.inputs, [])
        ways = [function.differentiate(saved, cotangents)]
        if None in cotangents:
            ways.append(function.differentiate_some(saved, cotangents))
    for found, wanted_output in zip(outputs, two_results(x, y), strict=True):
        torch.testing.assert_close(found, wanted_output.detach(), **CLOSE)
    for derivatives in ways:
        for found, known in zip(derivatives.gradients, expected_gradients(x, y, cotangents), strict=True):
            assert (found is None) == (known is None)
            if found is not None:
                torch.testing.assert_close(found, known, **CLOSE)


def test_the_backward_pass_of_zeros_is_zero() -> None:
    function, program = differentiable(two_results, wanted(6, 2), wanted(1))
    with torch.no_grad():
        _, saved = function.solve(program.example.inputs, [])
        results = function.of_zeros(saved)
    assert len(results) == 2
    assert all(not one.any() for one in results)


@pytest.mark.parametrize("cotangents", COTANGENTS.values(), ids=COTANGENTS)
def test_the_original_gives_what_autograd_gives(cotangents: Gradients) -> None:
    x, y = wanted(6, 2), wanted(1)
    function, _ = differentiable(two_results, x, y)
    found, outputs = Original(two_results, (x, y), {}).differentiate(function.backward, {}, cotangents, False)
    for one, known in zip(found.gradients, expected_gradients(x, y, cotangents), strict=True):
        assert (one is None) == (known is None)
        assert one is None or torch.equal(one, known)
    assert [one.shape for one in outputs] == [(2,), (6, 2)]
    assert x.grad is None


def test_the_original_can_be_differentiated_again() -> None:
    x, y = wanted(6, 2), wanted(1)
    function, _ = differentiable(two_results, x, y)
    cotangents = COTANGENTS["both"]
    original = Original(two_results, (x, y), {})
    found, _ = original.differentiate(function.backward, {}, cotangents, True)
    assert found.gradients[1] is not None
    (second,) = torch.autograd.grad(found.gradients[1].sum(), y)
    first = torch.autograd.grad(two_results(x, y), y, cotangents, create_graph=True)[0]
    assert torch.equal(second, torch.autograd.grad(first.sum(), y)[0])
    found, _ = original.differentiate(function.backward, {}, cotangents, False)
    assert found.gradients[1] is not None
    assert not found.gradients[1].requires_grad


def test_without_any_cotangent_there_is_no_gradient() -> None:
    x, y = wanted(6, 2), wanted(1)
    function, _ = differentiable(two_results, x, y)
    found, _ = Original(two_results, (x, y), {}).differentiate(function.backward, {}, (None, None), False)
    assert found.gradients == (None, None)


def test_outputs_that_come_from_one_another_have_nodes_of_their_own_in_order() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = recurrence(x)
        return h.exp(), h, x.cumsum(0)

    function, _ = differentiable(program, wanted(6, 2))
    numbers_of = {output: number for number, output in enumerate(function.backward.outputs)}
    assert function.groups == ((numbers_of[2],), (numbers_of[1],), (numbers_of[0],))


@pytest.mark.parametrize(
    ("program", "expected"),
    [(recurrence, True), (lambda x: recurrence(x + torch.randn_like(x)), False)],
    ids=["plain", "random"],
)
def test_a_program_that_draws_is_not_repeatable(program: object, expected: bool) -> None:
    function, _ = differentiable(program, wanted(6, 2))  # pyright: ignore[reportArgumentType]
    assert function.is_repeatable is expected


def test_the_numbers_of_cotangents_are_those_that_are_there() -> None:
    assert present_in((None, numbers(1), None, numbers(2))) == {1, 3}
    assert present_in((None,)) == frozenset()


@pytest.mark.parametrize("example", [numbers(2, 3), numbers(3, 2).t(), numbers(4, 3)[::2]])
def test_zeros_and_cotangents_lie_as_recorded(example: Tensor) -> None:
    spec = spec_of(example)
    assert zeros_of(spec).stride() == example.stride()
    assert not zeros_of(spec).any()
    laid = lay_out(numbers(2, 3), spec)
    assert laid.stride() == example.stride()
    assert torch.equal(laid, numbers(2, 3))


def test_a_cotangent_that_lies_as_recorded_is_handed_on() -> None:
    x = numbers(2, 3)
    assert lay_out(x, spec_of(x)) is x
    lazy = torch.view_as_complex(numbers(2, 3, 2)).conj()
    assert not lay_out(lazy, spec_of(lazy)).is_conj()
    assert torch.equal(lay_out(lazy, spec_of(lazy)), lazy)
