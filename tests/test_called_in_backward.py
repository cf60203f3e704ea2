"""Programs that are called while a backward pass runs: checkpoints that compute again, adjoint methods, hooks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fxsolve
from fxsolve.runtime.compiled import Compiled

B, T, N = 2, 8, 4
LENGTHS = (T, T, T + 3, T + 1, T + 6)
Layer = Callable[[Tensor], Tensor]


class Recurrent(nn.Module):
    """A loop over time, with noise and a count of its calls where asked for."""

    count: Tensor

    def __init__(self, is_counted: bool = False) -> None:
        super().__init__()
        self.cell = nn.GRUCell(N, N)
        self.is_counted = is_counted
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        h, out = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out.append(h)
        if self.is_counted:
            self.count.add_(1)
            out[-1] = out[-1] + torch.rand_like(h)
        return torch.stack(out, 1)


class _Adjoint(torch.autograd.Function):
    """The sum of the squares of what a layer returns; the layer is called in the backward pass alone."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, x: Tensor, *weights: Tensor) -> Tensor:  # pyright: ignore
        ctx.layer, ctx.weights = layer, weights
        ctx.save_for_backward(x)
        return x.sum()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:  # pyright: ignore
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            loss = ctx.layer(x).square().sum()
        return None, *(cotangent * g for g in torch.autograd.grad(loss, (x, *ctx.weights)))


def with_an_adjoint(layer: Layer, weights: list[Tensor], x: Tensor) -> None:
    _Adjoint.apply(layer, x, *weights).backward()  # pyright: ignore


def checkpointed(layer: Layer, weights: list[Tensor], x: Tensor) -> None:
    checkpoint(layer, x, use_reentrant=True).square().sum().backward()  # pyright: ignore


def in_a_hook(layer: Layer, weights: list[Tensor], x: Tensor) -> None:
    y = x * 2
    y.register_hook(layer)
    y.square().sum().backward()


def in_two_passes(layer: Layer, weights: list[Tensor], x: Tensor) -> None:
    """The layer is called in a backward pass that a hook of another one starts."""

    def hook(g: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = g.detach().requires_grad_()
            with_an_adjoint(layer, weights, leaf)
        return g + leaf.grad  # pyright: ignore

    y = x * 2
    y.register_hook(hook)
    y.square().sum().backward()


@pytest.mark.parametrize(
    ("use", "schedule", "is_counted"),
    [
        (with_an_adjoint, "gs", True),
        (with_an_adjoint, "jacobi", False),
        (checkpointed, "gs", False),
        (checkpointed, "jacobi", True),
        (in_a_hook, "jacobi", True),
        (in_two_passes, "gs", True),
    ],
)
def test_a_program_is_compiled_where_a_backward_pass_calls_it_first(
    use: Callable[..., None], schedule: str, is_counted: bool
) -> None:
    model = Recurrent(is_counted).double()
    fast = fxsolve.compile(model, backend="eager", schedule=schedule)
    for length in LENGTHS:
        assert_same_gradients(use, model, fast, length)
    assert_emitted(fast)


@pytest.mark.parametrize("use", [with_an_adjoint, checkpointed])
def test_other_lengths_may_come_in_backward_passes_alone(use: Callable[..., None]) -> None:
    model = Recurrent().double()
    fast = fxsolve.compile(model, backend="eager", schedule="gs")
    for length in (T, T + 2):
        x = torch.randn(B, length, N, dtype=torch.float64)
        torch.testing.assert_close(fast(x), model(x), rtol=0, atol=0)
    for length in LENGTHS:
        assert_same_gradients(use, model, fast, length)
    assert_emitted(fast)


def test_what_a_backward_pass_calls_may_differentiate_inside() -> None:
    mix = torch.eye(N, dtype=torch.float64) * 0.4 + 0.1

    def steered(x: Tensor) -> Tensor:
        with torch.enable_grad():
            for _ in range(6):
                x = x - 0.1 * torch.autograd.grad(torch.tanh(x @ mix).square().sum(), x, create_graph=True)[0]
        return x

    fast, found = fxsolve.compile(steered, backend="eager", schedule="gs"), []
    for _ in range(3):
        x = torch.randn(B, N, dtype=torch.float64)
        for layer in (steered, fast):
            leaf = x.clone().requires_grad_()
            _Adjoint.apply(layer, leaf).backward()  # pyright: ignore
            found.append(leaf.grad)
    torch.testing.assert_close(found[::2], found[1::2], rtol=1e-9, atol=1e-9)
    assert_emitted(fast)


def assert_same_gradients(use: Callable[..., None], model: Recurrent, fast: Compiled, length: int) -> None:
    """The gradients, the count of calls, and the state of the generator are those of the program itself."""
    x, weights, seen = torch.randn(B, length, N, dtype=torch.float64), list(model.cell.parameters()), []
    for layer in (model, fast):
        torch.manual_seed(1)
        model.count.zero_()
        model.zero_grad()
        leaf = x.clone().requires_grad_()
        use(layer, weights, leaf)
        found = [leaf.grad, *(w.grad for w in weights)]
        seen.append([*(g for g in found if g is not None), model.count.clone(), torch.get_rng_state()])
    torch.testing.assert_close(*seen, rtol=1e-9, atol=1e-9)


def assert_emitted(fast: Compiled) -> None:
    assert fast.report().status == "emitted", fast.report().reason
    assert all(entry.status == "emitted" for entry in fast.entries)
    assert any(entry.calls for entry in fast.entries)
