"""A batched linear layer is one product with its bias, as each step is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from fxsolve.ir.spec import Repeat
from fxsolve.lower.batch import batch
from fxsolve.lower.bias import join_bias
from fxsolve.stages import capture, partition

aten = torch.ops.aten


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5).double()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(self.linear(x_t)) for x_t in x])


def test_a_linear_layer_of_all_steps_is_one_addmm() -> None:
    model, x = Layer(), torch.randn(6, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        system = partition(capture(model, x)).system
        (repeat,) = [equation for equation in system.equations if isinstance(equation, Repeat)]
        sweep = batch(repeat, 6)
        targets = [node.target for node in sweep.graph.nodes if node.op == "call_function"]
        assert targets.count(aten.addmm.default) == 1
        assert aten.mm.default not in targets
        assert aten.add.Tensor not in targets
        given = {"x": x, "weight": model.linear.weight.t(), "bias": model.linear.bias}
        order = [node.meta["val"].shape for node in sweep.graph.find_nodes(op="placeholder")]
        arguments = [next(value for value in given.values() if value.shape == shape) for shape in order]
        torch.testing.assert_close(sweep(*arguments)[0], model(x), rtol=1e-14, atol=1e-14)


A, B = torch.randn(6, 3, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
BIAS = torch.randn(5, dtype=torch.float64)


def joined(function: Callable[..., object], *arguments: Tensor) -> list[object]:
    """The ops that are left of a function, which gives what it gave."""
    module: fx.GraphModule = make_fx(function)(*arguments)
    module.graph.eliminate_dead_code()
    wanted = module(*arguments)
    for node, value in zip(module.graph.nodes, _values(module, arguments), strict=True):
        node.meta["val"] = value
    join_bias(module.graph)
    module.graph.lint()
    module.recompile()
    for found, expected in zip(module(*arguments), wanted, strict=True):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    return [node.target for node in module.graph.nodes]


def _values(module: fx.GraphModule, arguments: tuple[Tensor, ...]) -> list[object]:
    runner = fx.Interpreter(module, garbage_collect_values=False)
    runner.run(*arguments)
    return [runner.env.get(node) for node in module.graph.nodes]


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, bias: (bias + aten.view(a @ b, [2, 3, 5]),),
        lambda a, b, bias: (aten._unsafe_view(a @ b, [2, 3, 5]) + bias,),
    ],
    ids=["bias first", "product first"],
)
def test_a_product_and_its_bias_are_one_call(function: Callable[..., object]) -> None:
    targets = joined(function, A, B, BIAS)
    assert aten.addmm.default in targets
    assert aten.add.Tensor not in targets


@pytest.mark.parametrize(
    ("function", "bias"),
    [
        (lambda a, b, bias: (bias + aten.view(a @ b, [2, 3, 5]),), torch.randn(3, 5).double()),
        (lambda a, b, bias: (bias + aten.view(a @ b, [2, 15]),), torch.randn(15).double()),
        (lambda a, b, bias: (bias + aten.view(a @ b, [2, 3, 5]),), torch.randn(1).double()),
        (lambda a, b, bias: (bias + aten.view(a @ b, [2, 3, 5]),), BIAS.float()),
        (lambda a, b, bias: (torch.add(bias, aten.view(a @ b, [2, 3, 5]), alpha=2),), BIAS),
        (lambda a, b, bias: ((c := a @ b).sin(), bias + aten.view(c, [2, 3, 5])), BIAS),
    ],
    ids=["matrix", "other columns", "one entry", "another type", "with a factor", "product read again"],
)
def test_other_sums_stay_two_calls(function: Callable[..., object], bias: Tensor) -> None:
    assert aten.addmm.default not in joined(function, A, B, bias)
