"""Cotangents are handed on as they lie wherever the backward pass can read them, and copied otherwise."""

import pytest
import torch
from torch import Tensor

from fxsolve.runtime.gradients import Differentiable, Tensors
from fxsolve.runtime.layouts import take
from tests.runtime.building import differentiable, numbers, recurrence, wanted


def built() -> tuple[Differentiable, Tensors]:
    function, program = differentiable(recurrence, wanted(6, 2))
    with torch.no_grad():
        _, saved = function.solve(program.example.inputs, [])
    return function, saved


@torch.no_grad()
def test_a_cotangent_that_lies_as_recorded_is_the_same_object() -> None:
    function, saved = built()
    given = (numbers(6, 2),)
    assert take(function, saved, given) is given
    assert take(function, saved, (None,)) == (None,)
    assert function.learned.layouts == {}


OTHERS = {
    "transposed": numbers(2, 6).t(),
    "expanded": numbers(1, 2).expand(6, 2),
    "every second": numbers(12, 2)[::2],
    "backwards": numbers(6, 2).flip(0).t().contiguous().t(),
}


@pytest.mark.parametrize("given", OTHERS.values(), ids=OTHERS)
@torch.no_grad()
def test_another_layout_is_tried_once_and_gives_the_same_gradient(given: Tensor) -> None:
    function, saved = built()
    (taken,) = take(function, saved, (given,))
    assert taken is not None
    assert list(function.learned.layouts) == [(given.stride(),)]
    assert (taken is given) == function.learned.layouts[(given.stride(),)]
    assert torch.equal(taken, given)
    found = function.differentiate(saved, (taken,)).gradients[0]
    expected = function.differentiate(saved, (given.contiguous(),)).gradients[0]
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@torch.no_grad()
def test_a_layout_that_does_not_do_is_copied_from_then_on() -> None:
    function, saved = built()
    given = OTHERS["transposed"]
    function.learned.layouts[(given.stride(),)] = False
    (taken,) = take(function, saved, (given,))
    assert taken is not None
    assert taken.stride() == function.cotangents[0].stride
    assert torch.equal(taken, given)


@torch.no_grad()
def test_a_backward_pass_that_fails_on_a_layout_gets_copies() -> None:
    function, saved = built()
    given, whole = OTHERS["transposed"], function.differentiate

    def contiguous_only(saved: Tensors, cotangents: Tensors) -> object:
        if not all(one.is_contiguous() for one in cotangents):
            raise RuntimeError("view size is not compatible")
        return whole(saved, cotangents)

    object.__setattr__(function, "differentiate", contiguous_only)
    (taken,) = take(function, saved, (given,))
    assert taken is not None
    assert taken.is_contiguous()
    assert function.learned.layouts == {(given.stride(),): False}


@torch.no_grad()
def test_a_negation_that_is_not_carried_out_yet_is_carried_out() -> None:
    function, saved = built()
    lazy = torch.view_as_complex(numbers(6, 2, 2)).conj().imag
    assert lazy.is_neg()
    (taken,) = take(function, saved, (lazy,))
    assert taken is not None
    assert not taken.is_neg()
    assert torch.equal(taken, lazy)
