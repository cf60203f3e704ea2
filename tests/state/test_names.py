"""Layers and tensors may be called as the user likes."""

from collections.abc import Callable
from keyword import iskeyword
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import fxsolve
from fxsolve.state.names import Names

N, STEPS, CALLS = 3, 5, 3
OWN = sorted({*dir(fx.GraphModule({}, fx.Graph())), *dir(nn.Module())})
MADE = [
    "loop0",
    "loop0_sums",
    "loop0_steps",
    "loop0_chunk",
    "block0",
    "input_0",
    "cotangent_0",
    "constant_0",
    "noise_0",
]
WORDS = ["model", "x", "self", "args", "inf", "nan", "device", "torch_", "fxsolve", "operator", "builtins", "a__b", "é"]
NAMES = [name for name in (*OWN, *MADE, *WORDS) if name.isidentifier() and not iskeyword(name)]
KEYS = ["class", "lambda", "a.b", "a", "0", "0a", "", " ", "half", "graph", "é", "ﬁ", "-", "...", "weight", "a_b"]


def same(fast: Any, program: Callable[[Tensor], Tensor], wanted: list[Tensor]) -> None:
    """Values and gradients of the original, from the emitted module."""
    for _ in range(CALLS):
        x = torch.randn(2, N, dtype=torch.float64)
        results = fast(x), program(x)
        torch.testing.assert_close(*results, rtol=0, atol=0)
        ours, own = (torch.autograd.grad(y.square().sum(), wanted) for y in results)
        torch.testing.assert_close(ours, own, rtol=1e-11, atol=1e-11)
    assert fast.report().status == "emitted", fast.report().reason


def layer() -> nn.Linear:
    return nn.Linear(N, N).double()


def closure_with(name: str, use: str, held: Any) -> Callable[[Tensor], Tensor]:
    """A program that calls a variable of a closure by this name."""
    lines = [
        f"def make({name}):",
        "    def program(given):",
        "        from torch import tanh",
        f"        for _ in range({STEPS}):",
        f"            given = tanh(given + {use.format(name)})",
        "        return given",
        "    return program",
    ]
    made: dict[str, Any] = {}
    exec("\n".join(lines), made)
    return made["make"](held)


def test_a_layer_in_a_closure_may_be_called_like_anything_that_a_module_has() -> None:
    attributes = {name: getattr(nn.Module, name, None) for name in OWN}
    for name in NAMES:
        held = layer()
        program = closure_with(name, "{}(given)", held)
        fast = fxsolve.compile(program, backend="eager", schedule="gs")
        x = torch.randn(2, N, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(fast(x), program(x), rtol=0, atol=0, msg=name)
            torch.testing.assert_close(fast(-x), program(-x), rtol=0, atol=0, msg=name)
        assert fast.report().status == "emitted", (name, fast.report().reason)
    assert attributes == {name: getattr(nn.Module, name, None) for name in OWN}


@pytest.mark.parametrize("use", ["{}(given)", "given @ {}", "{}[0](given)", "{}['half'](given)"])
@pytest.mark.parametrize("name", ["half", "type", "__class__", "training", "graph", "_modules", "loop0", "constant_0"])
def test_gradients_come_to_what_a_closure_holds_by_any_name(name: str, use: str) -> None:
    one = layer()
    held: Any = {"{}(given)": one, "given @ {}": one.weight, "{}[0](given)": [one]}.get(use, {"half": one})
    program = closure_with(name, use, held)
    same(fxsolve.compile(program, backend="eager", schedule="gs"), program, [one.weight])


class Keyed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for key in KEYS:  # nn.ModuleDict refuses some of them
            self._modules[key] = layer()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(STEPS):
            x = torch.tanh(sum((self._modules[key](x) for key in KEYS), x))  # pyright: ignore
        return x


def test_children_may_have_any_names() -> None:
    model = Keyed()
    same(fxsolve.compile(model, backend="eager", schedule="gs"), model, list(model.parameters()))


@pytest.mark.parametrize("name", WORDS)
def test_a_weight_may_be_called_like_a_word_of_generated_code(name: str) -> None:
    model = nn.Module()
    model.register_parameter(name, nn.Parameter(torch.randn(N, dtype=torch.float64)))

    def program(x: Tensor) -> Tensor:
        for _ in range(STEPS):
            x = torch.tanh(x * model.get_parameter(name))
        return x

    same(fxsolve.compile(program, backend="eager", schedule="gs"), program, list(model.parameters()))


class Hooked(nn.Module):
    """Its layer, and that of a hook, have one name; so have a weight and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.weight, self.other = layer(), nn.Parameter(torch.eye(N, dtype=torch.float64)), layer()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(STEPS):
            x = torch.tanh(self.layer(x) + x @ self.weight + self.other(x))
        return x


def test_two_layers_of_one_name_are_two() -> None:
    model = Hooked()

    def hook_with(layer: nn.Linear, weight: nn.Linear) -> Callable[..., Tensor]:
        return lambda module, args, result: result + layer(args[0]) - weight(args[0])

    hidden = layer(), layer()
    model.other.register_forward_hook(hook_with(*hidden))
    wanted = [*model.parameters(), *hidden[0].parameters(), hidden[1].weight]
    same(fxsolve.compile(model, backend="eager", schedule="gs"), model, wanted)
    assert not hasattr(model.weight, "weight")


def test_no_name_lies_on_the_path_to_another() -> None:
    names = Names(["a.b", "c"])
    wanted = ["a", "a.b", "a.b.c", "c.d", "c", "d", "half.weight", "class", "a b", "", "0"]
    expected = ["a_", "a__.b", "a___.b.c", "c_.d", "c__", "d", "half_.weight", "class_", "a_b", "_", "0"]
    assert [names.add(name) for name in wanted] == expected
