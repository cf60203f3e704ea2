"""Nodes of autograd are numbered as they are made, and a backward pass can be asked what it runs."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.torch_compat import gradients


class Asking(torch.autograd.Function):
    """The identity; its backward pass notes the node and the pass that run."""

    notes: list[tuple[Any, int]]

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        Asking.notes.append((gradients.current_node(), gradients.current_pass()))
        return cotangent


def leaf() -> Tensor:
    return torch.ones((), requires_grad=True)


def test_a_node_has_the_number_that_was_the_next_one() -> None:
    x = leaf()
    numbers = [gradients.next_number()]
    y = x * 2
    numbers.append(gradients.next_number())
    z = y.exp()
    assert y.grad_fn is not None
    assert z.grad_fn is not None
    assert [gradients.number_of(y.grad_fn), gradients.number_of(z.grad_fn)] == numbers
    with torch.no_grad():
        x * 2
    assert gradients.next_number() == numbers[1] + 1


def test_the_running_node_is_known_and_each_pass_has_its_number() -> None:
    Asking.notes = []
    y = Asking.apply(leaf())
    for _ in range(2):
        y.backward(retain_graph=True)
    assert [node for node, _ in Asking.notes] == [y.grad_fn] * 2
    assert len({number for _, number in Asking.notes}) == 2
    assert gradients.current_node() is None
    assert gradients.current_pass() == -1


def test_a_pass_that_wants_some_gradients_knows_which_nodes_it_will_run() -> None:
    leaves, seen = (leaf(), leaf()), list[bool]()
    one, other = (x * 1 for x in leaves)
    y = one * other
    y.register_hook(lambda _: seen.extend(gradients.will_run(node.grad_fn) for node in (one, other)))
    torch.autograd.grad(y, leaves[0], retain_graph=True)
    torch.autograd.grad(y, leaves)
    assert seen == [True, False, True, True]
