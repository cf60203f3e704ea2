"""torch's backward passes in the form in which a torch function mode stays on in all that they run."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxsolve.capture.backward.differentiation import BACKWARD_PASSES


class Count(TorchFunctionMode):
    """Counts the squares that it sees; `passes` are what it calls in the place of torch's backward passes."""

    def __init__(self, passes: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.passes, self.seen = passes, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += func is torch.square
        if func in self.passes:
            with self:
                return self.passes[func](*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        return cotangent * 3 * torch.square(*ctx.saved_tensors)


def grad(function: Callable[..., Any], x: Tensor, y: Tensor) -> Tensor:
    return function(y, x)[0]


def backward(function: Callable[..., Any], x: Tensor, y: Tensor) -> Tensor | None:
    function(y)
    return x.grad


WAYS = {torch.autograd.grad: grad, torch.autograd.backward: backward, Tensor.backward: backward}


@pytest.mark.parametrize("function", WAYS)
def test_what_a_backward_pass_runs_is_seen_by_the_mode_and_its_values_are_torchs(function: Any) -> None:
    for passes, seen in (({}, 0), (BACKWARD_PASSES, 1)):
        x = torch.tensor(2.0, requires_grad=True)
        y, mode = Cube.apply(x), Count(passes)
        with mode:
            assert WAYS[function](function, x, y) == 12.0
        assert mode.seen == seen


@pytest.mark.parametrize("function", WAYS)
def test_defaults_and_errors_are_those_of_torch(function: Any) -> None:
    own = BACKWARD_PASSES[function]
    assert own.__defaults__ == function.__defaults__
    assert own.__kwdefaults__ == function.__kwdefaults__
    y = torch.ones(2, requires_grad=True) * 2
    arguments = (y, y) if function is torch.autograd.grad else (y,)
    messages = []
    for one in (function, own):
        with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs") as caught:
            one(*arguments)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_torchs_own_functions_ask_as_ever() -> None:
    class Own(Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return "asked" if func is torch.autograd.grad else super().__torch_function__(func, types, args, kwargs)

    x = torch.ones((), requires_grad=True)
    assert torch.autograd.grad((x * 2).as_subclass(Own), x) == "asked"
    assert BACKWARD_PASSES[torch.autograd.grad]((x * 2).as_subclass(Own), x)[0] == 2
