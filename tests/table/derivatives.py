"""Rows: programs that differentiate inside; their reverse loops are affine in the cotangent."""

import torch
from torch import Tensor

from tests.table.row import VECTOR, WEIGHTED, T, row, rows_of


def rollout(x: Tensor, w: Tensor) -> Tensor:
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h @ w + x_t)
    return h.square().sum()


@row(WEIGHTED, "6: invariant, lag 1, slices", "5: invariant, lag 1, slices", mode=torch.enable_grad, affine=1)
def autograd_grad(x: Tensor, w: Tensor):
    x = x.detach().requires_grad_()
    loss = rollout(x, w)
    return loss.detach(), torch.autograd.grad(loss, x)[0]


@row(WEIGHTED, "6: invariant, lag 1, slices", "5: invariant, lag 1, slices", mode=torch.enable_grad, affine=1)
def backward_method(x: Tensor, w: Tensor):
    x = x.detach().clone().requires_grad_()
    rollout(x, w).backward()
    return x.grad


@row(WEIGHTED, "6: invariant, lag 1, slices", "4: invariant, lag 1, slices", "4: lag 1, slices", affine=2)
def func_grad(x: Tensor, w: Tensor):
    return torch.func.grad(rollout, (0, 1))(x, w)


@row(WEIGHTED, "6: invariant, lag 1, slices", "4: invariant, lag 1, slices", "4: lag 1, slices", affine=2)
def func_vjp(x: Tensor, w: Tensor):
    value, pull = torch.func.vjp(rollout, x, w)  # pyright: ignore[reportAssignmentType]
    return value, pull(torch.ones_like(value))


@row(WEIGHTED, "5: invariant, lag 1, slices")
def func_jvp(x: Tensor, w: Tensor):
    return torch.func.jvp(rollout, (x, w), (torch.ones_like(x), torch.ones_like(w)))


@row(VECTOR, "6: invariant, lag 1", mode=torch.enable_grad)
def descent_on_an_energy(x: Tensor):
    """An implicit layer: every step is one step of gradient descent."""
    v = torch.zeros_like(x)
    for _ in range(T):
        v = v.detach().requires_grad_()
        energy = ((v - x) ** 2).sum() + torch.cos(v).sum()
        v = v - 0.1 * torch.autograd.grad(energy, v)[0]
    return v.detach()


@row(WEIGHTED, trips=(6, 5), mode=torch.enable_grad, affine=3)
def hessian_vector_product(x: Tensor, w: Tensor):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(rollout(x, w), x, create_graph=True)
    return torch.autograd.grad((gradient * x.detach()).sum(), x)[0]


ROWS = rows_of(globals())
