"""States far smaller than others, and small altogether, are solved as closely as all others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.solvers.solution import observe

T = 60
SCHEDULES = [
    ("jacobi(loop0)", "jacobi"),
    ("jacobi(loop0[0:60:20])", "jacobi"),
    ("jacobi(loop0, window=16)", "sliding"),
    ("jacobi(gs(loop0[0:60:6]))", "jacobi_gs"),
    ("newton(loop0)", "newton"),
    ("picard(loop0)", "picard"),
]


def contract(x: Tensor, weight: Tensor) -> Tensor:
    """A chain that shrinks by the factor 1e-9 or so, of which the directions are wanted."""
    s, states = x, []
    for _ in range(T):
        s = torch.tanh(s @ weight)
        states.append(s)
    return torch.nn.functional.normalize(torch.stack(states), dim=-1, eps=0)


def solve(program: Callable[..., Tensor], schedule: str, first: Tensor, *shared: Tensor) -> Callable[..., Tensor]:
    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    fast(first, *shared)
    return fast


@pytest.mark.parametrize(("schedule", "method"), SCHEDULES)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-12])
def test_the_direction_of_a_state_that_has_shrunk_is_right(schedule: str, method: str, scale: float) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 6), torch.linalg.qr(torch.randn(6, 6))[0] * 0.7
    fast = solve(contract, schedule, x, weight)
    with observe() as seen:
        result = fast(scale * x, weight)
    torch.testing.assert_close(result, contract(scale * x, weight), rtol=0, atol=1e-4)
    assert (seen[0].method, seen[0].status) in ((method, "converged"), (method, "exact"))


@pytest.mark.parametrize("schedule", ["jacobi", "picard", "auto"])
def test_the_sign_of_a_gradient_that_has_vanished_is_right(schedule: str) -> None:
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        h = torch.zeros(4, 6)
        for x_t in x:
            h = torch.tanh(h @ weight + x_t)
        return h.sum()

    torch.manual_seed(1)
    weight, inputs = torch.randn(6, 6) * 0.2, [torch.randn(T, 4, 6, requires_grad=True) for _ in range(2)]
    fast = solve(forward, schedule, inputs[0], weight)
    for x in inputs:
        (found,) = torch.autograd.grad(fast(x, weight), x)
        (wanted,) = torch.autograd.grad(forward(x, weight), x)
        assert wanted[0].abs().max() < 1e-12
        sure = wanted.abs() > 1e-3 * wanted.abs().amax((1, 2), keepdim=True)
        assert torch.equal(found.sign()[sure], wanted.sign()[sure])
