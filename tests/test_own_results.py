"""Arguments that were computed with what the program itself uses, and histories that it finds when it is called."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fxsolve
from fxsolve.runtime.compiled import Compiled
from tests.turns import in_turn

B, T, N = 3, 8, 4
CALLS = 3
Layer = Callable[[Tensor], Tensor]


def states(x: Tensor, mix: Tensor) -> Tensor:
    h, out = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = torch.tanh(h @ mix + x[:, t])
        out.append(h)
    return torch.stack(out, 1)


class Mixed(nn.Module):
    def __init__(self, mix: Tensor) -> None:
        super().__init__()
        self.mix = nn.Parameter(mix)

    def forward(self, x: Tensor) -> Tensor:
        return states(x, self.mix)


class Listed(Mixed):
    def forward(self, xs: list[Tensor]) -> Tensor:  # pyright: ignore
        return states(xs[0], self.mix)


def weights() -> Tensor:
    return torch.eye(N, dtype=torch.float64) * 0.4 + 0.1


def data() -> Tensor:
    return torch.randn(B, T, N, dtype=torch.float64)


def held_by(kind: str, mix: Tensor) -> tuple[Callable[..., Tensor], Tensor]:
    """A program with `mix`, and its parameter."""
    if kind == "a module":
        model = Mixed(mix)
        return model, model.mix
    if kind == "a module that takes a list":
        model = Listed(mix)
        return model, model.mix
    owned = mix.clone().requires_grad_()
    if kind == "a closure":
        return lambda x: states(x, owned), owned
    table = {"mix": [owned]}
    return lambda x: states(x, table["mix"][0]), owned


def twice(layer: Layer, plain: Layer, x: Tensor) -> Tensor:
    return layer(layer(x))


def refined(layer: Layer, plain: Layer, x: Tensor) -> Tensor:
    for _ in range(3):
        x = layer(x)
    return x


def on_what_the_program_made(layer: Layer, plain: Layer, x: Tensor) -> Tensor:
    return layer(plain(x))


def on_a_part(layer: Layer, plain: Layer, x: Tensor) -> Tensor:
    return layer(layer(x).unbind(0)[1][None] * 2)


def checkpointed(layer: Layer, plain: Layer, x: Tensor) -> Tensor:
    return layer(checkpoint(plain, x, use_reentrant=False))


def with_a_penalty(layer: Layer, plain: Layer, x: Tensor) -> Tensor:
    y = layer(x.clone().requires_grad_())
    return layer(y) + y.square().sum()


@pytest.mark.parametrize(
    ("use", "kind", "schedule"),
    in_turn(
        [twice, refined, on_what_the_program_made, on_a_part, checkpointed, with_a_penalty],
        ["a module", "a module that takes a list", "a closure", "a list in a dict", "a module"],
        ["gs", "jacobi"],
        times=4,
    ),
)
def test_an_argument_may_have_been_computed_with_the_same_weights(
    use: Callable[[Layer, Layer, Tensor], Tensor], kind: str, schedule: str
) -> None:
    torch.manual_seed(0)
    program, mix = held_by(kind, weights())
    fast = fxsolve.compile(program, backend="eager", schedule=schedule)

    def call(function: Callable[..., Tensor]) -> Layer:
        return (lambda x: function([x])) if "takes a list" in kind else function

    call(fast)(data())
    for _ in range(CALLS):
        x = data()
        results = [use(call(one), call(program), x) for one in (fast, program)]
        ours, own = (torch.autograd.grad(result.square().sum(), mix)[0] for result in results)
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours, own, rtol=1e-8, atol=1e-8)
    assert [entry.reason for entry in fast.entries if entry.status != "emitted"] == []


def test_second_derivatives_go_through_what_an_argument_was_computed_from() -> None:
    program, mix = held_by("a closure", weights())
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for _ in range(CALLS):
        x, found = data(), []
        for layer in (fast, program):
            (gradient,) = torch.autograd.grad(layer(layer(x)).square().sum(), mix, create_graph=True)
            found.append(torch.autograd.grad(gradient.square().sum(), mix)[0])
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
    assert {entry.status for entry in fast.entries} == {"emitted"}


def test_a_backward_pass_in_another_thread_goes_on_where_a_recorded_one_ends() -> None:
    mix = weights().requires_grad_()
    y = torch.tanh(data() @ mix)
    loss = y.square().sum()
    (expected,) = torch.autograd.grad(loss, mix, retain_graph=True)
    found: list[Tensor] = []

    def differentiate() -> None:
        found.extend(torch.autograd.grad(loss, mix, retain_graph=True))

    class Busy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
            thread = threading.Thread(target=differentiate)
            thread.start()
            thread.join()
            return gradient * 2

    fast = fxsolve.compile(lambda x: Busy.apply(states(x, mix)), backend="eager", schedule="gs")
    fast(y)
    assert_emitted(fast)
    assert found
    for gradient in found:
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


def test_a_custom_function_in_the_history_of_an_argument_is_not_run_on_zeros() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
            return gradient * 2 + 1

    mix = weights().requires_grad_()
    fast = fxsolve.compile(lambda x: states(x, mix), backend="eager", schedule="gs")
    for _ in range(CALLS):
        y = Doubled.apply(data() @ mix)
        ours, own = (torch.autograd.grad(f(y).sum(), mix, retain_graph=True)[0] for f in (fast, fast.program))
        torch.testing.assert_close(ours, own, rtol=0, atol=0)
    assert "computed from another tensor that the program uses, through a custom function" in fast.report().reason


def assert_emitted(fast: Compiled) -> None:
    assert fast.report().status == "emitted", fast.report().reason


def _smooth(x: Tensor) -> Tensor:
    return (x * x).tanh()


@pytest.mark.parametrize("is_compiled", [False, True])
def test_what_is_differentiated_inside_must_be_computed_inside(is_compiled: bool) -> None:
    def sensitive(y: Tensor, x: Tensor) -> Tensor:
        (g,) = torch.autograd.grad(y.square().sum(), x, retain_graph=True)
        for _ in range(5):
            g = torch.tanh(g * 0.5 + y)
        return g

    mix = weights()
    inner = fxsolve.compile(lambda x: states(x, mix), backend="eager", schedule="gs") if is_compiled else _smooth
    fast = fxsolve.compile(sensitive, backend="eager", schedule="gs")
    for _ in range(CALLS):
        x = data().requires_grad_()
        y = inner(x)
        torch.testing.assert_close(fast(y, x), sensitive(y, x), rtol=0, atol=0)
    assert "the program differentiates through" in fast.report().reason
    assert "compute inside of the program what it differentiates" in fast.report().reason
    if isinstance(inner, Compiled):
        assert_emitted(inner)


def test_a_program_may_differentiate_what_it_computes_from_a_result_of_its_own() -> None:
    mix = weights().requires_grad_()

    def steered(x: Tensor) -> Tensor:
        for _ in range(5):
            x = x - 0.1 * torch.autograd.grad(torch.tanh(x @ mix).square().sum(), x, create_graph=True)[0]
        return x

    fast = fxsolve.compile(steered, backend="eager", schedule="gs")
    for _ in range(CALLS):
        x, found = data().requires_grad_(), []
        for layer in (fast, steered):
            found.append(torch.autograd.grad(layer(layer(x)).sum(), [x, mix]))
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
    assert_emitted(fast)
