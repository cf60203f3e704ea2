"""A bounded backward pass ends at the tensors that were given, and others at the same time do not."""

import weakref

import pytest
import torch
from torch import Tensor

from fxsolve.capture.backward.boundary import BoundedResults, Earlier


def leaf(*values: float) -> Tensor:
    return torch.tensor(values, requires_grad=True)


def test_the_gradient_of_a_given_tensor_is_its_own_part_alone() -> None:
    a = leaf(2.0, 3.0)
    b = a * a  # computed before the program, which uses both
    results = (a * b).sum(), b.exp().sum()
    cotangents = torch.ones(()), torch.ones(())
    of_a, of_b = BoundedResults(results, (a, b)).differentiate((a, b), cotangents)
    assert of_a is not None
    assert of_b is not None
    torch.testing.assert_close(of_a, b.detach())
    torch.testing.assert_close(of_b, a.detach() + b.detach().exp())
    whole = torch.autograd.grad(results, a, cotangents)[0]
    torch.testing.assert_close(whole, of_a + of_b * 2 * a.detach())


def test_a_chain_of_given_tensors_is_cut_at_each_of_them() -> None:
    given = [leaf(2.0)]
    for _ in range(3):
        given.append(given[-1] * 3)
    found = BoundedResults((sum(given),), given).differentiate(given, (torch.ones(1),))
    assert [one.item() for one in found if one is not None] == [1.0] * 4


def test_what_no_result_reaches_has_no_gradient() -> None:
    a, other = leaf(1.0), leaf(1.0)
    b = a * 2
    assert BoundedResults((b * 3,), (b, other)).differentiate((b, other), (torch.ones(1),))[1] is None


def test_other_passes_go_on_beyond_it_also_those_that_it_runs() -> None:
    a = leaf(2.0)
    b = a * 5
    y, other, seen = b * b, b * 3, list[float]()

    def of_other(*_: object) -> None:
        seen.append(torch.autograd.grad(other, a, retain_graph=True)[0].item())

    bounded = BoundedResults((y,), (b,))
    y.register_hook(of_other)
    for _ in range(2):
        of_other()
        (of_b,) = bounded.differentiate((b,), (torch.ones(1),))
        assert of_b is not None
        assert of_b.item() == 20.0
    assert seen == [15.0] * 4


def test_nothing_of_a_bounded_pass_stays_in_the_graph_of_what_was_given() -> None:
    b = leaf(2.0) * 5
    bounded = BoundedResults((b * b,), (b,))
    bounded.differentiate((b,), (torch.ones(1),))
    left = weakref.ref(bounded)
    del bounded
    assert left() is None


def test_a_gradient_may_be_differentiated_again() -> None:
    b = leaf(2.0) * 1
    (first,) = BoundedResults((b**3,), (b,)).differentiate((b,), (torch.ones(1),), create_graph=True)
    assert first is not None
    assert torch.autograd.grad(first, b)[0].item() == 12.0


class Watched(torch.autograd.Function):
    """The identity; its backward pass notes whether it is known as an earlier one."""

    earlier: Earlier
    notes: list[bool]

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, cotangent: Tensor) -> Tensor:
        Watched.notes.append(Watched.earlier.running() is not None)
        return cotangent


@pytest.mark.parametrize("count", [0, 2])
def test_a_node_that_was_there_is_told_from_those_that_came_later(count: int) -> None:
    x, Watched.notes = leaf(1.0), []
    for _ in range(count):
        x = Watched.apply(x)
    Watched.earlier = Earlier()
    assert Watched.earlier.running() is None  # outside of a backward pass
    Watched.apply(Watched.apply(x)).backward()
    assert Watched.notes == [False, False, *[True] * count]
