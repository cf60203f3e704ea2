"""A call that vmap would run step by step is refused by name, where it depends on the step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fxsolve.errors import PartitionError
from fxsolve.lower.trace import check_rules, trace

X, W = torch.ones(3, 4), torch.ones(4, 4)


def fakes(*tensors: Tensor) -> list[Tensor]:
    return [torch.empty(tensor.shape) for tensor in tensors]


def shares(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(x @ torch.renorm(w, 2, 0, 1.0)),)


def depends(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return (torch.renorm(torch.tanh(x) @ w, 2, 0, 1.0),)


def made(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return (torch.renorm(torch.ones(2, 2), 2, 0, 1.0).sum() + x, w)


class Renormed(torch.autograd.Function):
    """The same; its derivative makes a call without a rule."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is saved."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.renorm(gradient, 2, 0, 1.0)


def backward(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    _, pull_back = torch.func.vjp(lambda x: Renormed.apply(x) @ w, x)  # pyright: ignore
    return pull_back(torch.ones(3, 4) * x)


@pytest.mark.parametrize("function", [shares, made])
def test_what_depends_on_shared_tensors_alone_needs_no_rule(function: Callable[..., Any]) -> None:
    with torch.no_grad(), FakeTensorMode():
        check_rules(function, fakes(X, W), [False, True])


@pytest.mark.parametrize(("function", "shared"), [(depends, [False, True]), (shares, [True, False])])
def test_what_depends_on_the_step_needs_one(function: Callable[..., Any], shared: list[bool]) -> None:
    with (
        torch.no_grad(),
        FakeTensorMode(),
        pytest.raises(PartitionError, match=r"aten\.renorm\.default has no batching rule"),
    ):
        check_rules(function, fakes(X, W), shared)


def test_calls_of_a_derivative_need_rules_too() -> None:
    with (
        torch.no_grad(),
        FakeTensorMode(),
        pytest.raises(PartitionError, match=r"aten\.renorm\.default has no batching rule"),
    ):
        check_rules(backward, fakes(X, W), [False, True])


def test_a_trace_gives_the_values_of_its_function() -> None:
    def function(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        values, indices = torch.sort(torch.tanh(x @ w).detach() * 2.0, dim=1)
        made = torch.zeros(3, 4)
        made[0] = values[1]
        return made + values, indices

    with torch.no_grad(), FakeTensorMode():
        graph = trace(function, fakes(X, W))
    x, w = torch.randn(3, 4), torch.randn(4, 4)
    assert all(map(torch.equal, graph(x, w), function(x, w)))
    assert all("val" in node.meta for node in graph.graph.nodes if node.op == "call_function")


def test_a_tensor_from_outside_is_refused() -> None:
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        inputs = fakes(X, W)
        with pytest.raises(PartitionError, match="reads a tensor that none of its calls makes"):
            trace(lambda x, w: (x @ w + inputs[0].new_empty(0).sum() + OUTSIDE,), inputs)


OUTSIDE = torch.ones(4)
