"""Values of tensors that reach Python in a backward pass: in custom functions and in hooks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.report.report import Report

Gradient = Callable[[Tensor, Tensor], Tensor]  # of what comes in, and of the input

READS: dict[str, tuple[Gradient, str]] = {
    "tolist of a gradient": (lambda g, x: g * (2.0 if max(g.tolist()) > 0.5 else 1.0), "depend on the gradient"),
    "array of a gradient": (lambda g, x: g * float(abs(g.numpy()).max()), "depend on the gradient"),
    "array of an input": (lambda g, x: g * float(abs(x.detach().numpy()).max()), "another one at nearly every call"),
    "tolist of an input": (lambda g, x: g * max(x.tolist()), "another one at nearly every call"),
    "list of tensors": (lambda g, x: g * torch.tensor([x[0], x[1], 1.0]), "tensor with a list of tensors"),
}


def function(gradient: Gradient) -> Callable[[Tensor], Tensor]:
    """A loop over a function of autograd that has this gradient."""

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, *given: Tensor) -> Tensor:
            return gradient(given[0], ctx.saved_tensors[0]) * 0.5

    def program(x: Tensor) -> Tensor:
        for _ in range(6):
            x = Custom.apply(x)  # pyright: ignore[reportAssignmentType]
        return x

    return program


def hook(gradient: Gradient) -> Callable[[Tensor], Tensor]:
    """A loop whose first state has a hook that gives this gradient."""

    def program(x: Tensor) -> Tensor:
        state = x.clone()
        state.register_hook(lambda g: gradient(g, x))
        for _ in range(6):
            state = torch.sin(state)
        return state

    return program


def inside(gradient: Gradient) -> Callable[[Tensor], Tensor]:
    """A program that runs the backward pass of such a loop itself."""

    def program(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        function(gradient)(leaf).sum().backward()
        assert leaf.grad is not None
        return x * leaf.grad

    return program


def run(program: Callable[[Tensor], Tensor], x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor | None]:
    x = x.clone().requires_grad_()
    y = program(x)
    y.backward(cotangent)
    return y.detach(), x.grad


def follow(program: Callable[[Tensor], Tensor]) -> Report:
    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        x, cotangent = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        for ours, theirs in zip(run(fast, x, cotangent), run(program, x, cotangent), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    return fast.report()


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("make", [function, hook])
def test_a_read_in_the_backward_pass_gives_no_wrong_gradient(make: Callable, name: str) -> None:
    gradient, reason = READS[name]
    report = follow(make(gradient))
    assert report.status == "left alone"
    assert reason in report.reason


@pytest.mark.parametrize("name", READS)
def test_a_read_in_a_backward_pass_inside_of_the_program_gives_no_wrong_value(name: str) -> None:
    report = follow(inside(READS[name][0]))
    assert report.guards == 6 or "tensor with a list of tensors" in report.reason


@pytest.mark.parametrize("make", [function, hook, inside])
def test_a_constant_made_in_the_backward_pass_is_no_read(make: Callable) -> None:
    report = follow(make(lambda g, x: g * x * torch.tensor(0.5, dtype=x.dtype)))
    assert report.status == "emitted", report.reason


@pytest.mark.parametrize("write", [lambda x: x.apply_(abs), lambda x: x.map_(x + 1, max)])
def test_a_write_by_a_function_of_python_is_left_to_the_original(write: Callable[[Tensor], Tensor]) -> None:
    def program(x: Tensor) -> Tensor:
        x = x * 2
        for _ in range(6):
            x = write(torch.sin(x))
        return x

    x = torch.ones(3)
    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for value in (x, -x):
        assert torch.equal(fast(value), program(value))
    assert "outside of torch" in fast.report().reason
