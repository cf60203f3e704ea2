"""What a second backward pass brings to results: through the rerun as through the program's own graph."""

from weakref import ref

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.errors import GradientError
from fxsolve.runtime.reruns import follow
from tests.runtime.building import wanted


def cube(x: Tensor) -> Tensor:
    return x**3


def states(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States, the last of them, and what was computed from it: results that lead to results."""
    h, found = torch.zeros(2, dtype=torch.float64), []
    for row in x:
        h = torch.tanh(row + 0.9 * h)
        found.append(h)
    return torch.stack(found), h, h.exp()


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("passes", [1, 2])
def test_results_retain_the_whole_gradient_of_a_second_pass(direct: bool, passes: int) -> None:
    compiled = fxsolve.compile(states, schedule="gs", backend="eager")
    for _ in range(2):
        x, found = wanted(8, 2), []
        for program in (compiled, states):
            leaf = x.detach().requires_grad_()
            results = program(leaf)
            for one in results:
                one.retain_grad()
            cubes, sines = (torch.stack([f(one).sum() for one in results]).sum() for f in (cube, torch.sin))
            (gradient,) = torch.autograd.grad(cubes, leaf, create_graph=True)
            loss = gradient.square().sum() + direct * sines
            for number in range(passes):
                loss.backward(retain_graph=number + 1 < passes)
            found.append([one.grad for one in results] + [leaf.grad])
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
    assert compiled.report().status == "emitted"


def test_a_hook_on_a_result_would_see_a_part_only_so_a_second_pass_raises() -> None:
    compiled, x = fxsolve.compile(states, schedule="gs", backend="eager"), wanted(8, 2)
    compiled(x)
    _, last, _ = compiled(x)
    last.register_hook(torch.abs)
    (gradient,) = torch.autograd.grad(last.sum(), x, create_graph=True)
    with pytest.raises(GradientError, match="has a hook, and a gradient that was made with create_graph=True"):
        gradient.square().sum().backward()


def test_what_was_given_and_results_that_are_gone_get_nothing() -> None:
    given = wanted(3) * 1
    given.retain_grad()
    like, gone = given.exp(), given.sin()
    result = torch.zeros(3, dtype=torch.float64, requires_grad=True) * 1
    result.retain_grad()
    follow([ref(given), ref(result), ref(torch.zeros(3))], [given, like, gone], [given])
    (like + gone).sum().backward()
    assert result.grad is not None
    torch.testing.assert_close(result.grad, torch.ones_like(result))
    assert given.grad is not None
    torch.testing.assert_close(given.grad, given.detach().exp() + given.detach().cos())
