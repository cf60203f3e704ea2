"""What type checkers and readers of signatures know of compiled programs.

The file is checked by pyright (`tools/check`): `assert_type` is about what it infers, and a comment that ignores an
error where there is none is an error itself.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import inspect
from typing import Any, assert_type

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import InputError

x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def forward(self, x: Tensor, labels: Tensor | None = None, *, steps: int = 20) -> Tensor:
        for _ in range(steps):
            x = torch.tanh(x) + 0.1
        return x if labels is None else (x - labels).square().mean()

    def draw(self, count: int) -> Tensor:
        return torch.zeros(count)


def halve(x: Tensor, times: int = 12) -> Tensor:
    for _ in range(times):
        x = torch.tanh(x) * 0.5
    return x


@fxsolve.compile
def plain(x: Tensor, times: int) -> Tensor:
    return halve(x, times)


@fxsolve.compile(backend="eager", schedule="gs")
def with_options(x: Tensor, times: int = 12) -> Tensor:
    """Halves it."""
    return halve(x, times)


class Holder:
    @fxsolve.compile(backend="eager", schedule="gs")
    def method(self, x: Tensor) -> Tensor:
        return halve(x)


def test_a_function_keeps_its_parameters_and_its_result() -> None:
    fast = fxsolve.compile(halve, backend="eager", schedule="gs")
    assert_type(fast(x, 12), Tensor)
    assert_type(fast.report().schedule, str)
    assert inspect.signature(fast) == inspect.signature(halve)
    with pytest.raises(TypeError):
        fast("no tensor")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        fast(x, 1, 2)  # pyright: ignore[reportCallIssue]


def test_a_decorated_function_keeps_them_too_with_and_without_options() -> None:
    assert_type(plain(x, 2), Tensor)
    assert_type(with_options(x, times=12), Tensor)
    assert torch.equal(with_options(x), halve(x))
    assert str(with_options.schedule) != "original"
    assert (with_options.__name__, with_options.__doc__) == ("with_options", "Halves it.")
    with pytest.raises(TypeError):
        plain(x)  # pyright: ignore[reportCallIssue]


def test_a_decorated_method_is_bound() -> None:
    assert_type(Holder().method(x), Tensor)
    assert torch.equal(Holder().method(x), halve(x))
    with pytest.raises(TypeError):
        Holder().method(x, x)  # pyright: ignore[reportCallIssue]


def test_a_module_stays_a_module_that_is_called_like_the_model() -> None:
    fast = fxsolve.compile(Net(), backend="eager", schedule="gs")
    assert_type(fast(x), Tensor)
    assert_type(fast.program, Net)
    assert_type(fast.program.draw(3), Tensor)
    assert_type(fast.draw, Any)
    assert torch.equal(nn.Sequential(fast, nn.ReLU())(x), Net()(x).relu())
    with pytest.raises(TypeError):
        fast(x, step=3)  # pyright: ignore[reportCallIssue]


def test_options_that_there_are_not_are_errors_for_checkers_too() -> None:
    with pytest.raises(InputError, match="did you mean 'backend'"):
        fxsolve.compile(halve, backends="eager")  # pyright: ignore[reportCallIssue]
    with pytest.raises(InputError, match="did you mean 'schedule'"):
        fxsolve.compile(shedule="gs")  # pyright: ignore[reportCallIssue]


def test_a_program_that_is_none_is_no_decorator() -> None:
    with pytest.raises(InputError, match="the program is a NoneType"):
        fxsolve.compile(None)  # pyright: ignore


def test_what_a_decorator_with_options_cannot_compile_is_refused_where_it_is_written() -> None:
    with pytest.raises(InputError, match="the class Net; compile an instance"):
        fxsolve.compile(backend="eager")(Net)


def test_forward_has_the_signature_of_the_models_own_on_the_object_and_on_its_class() -> None:
    model = Net()
    fast = fxsolve.compile(model, backend="eager", schedule="gs")
    assert inspect.signature(fast.forward) == inspect.signature(model.forward)
    assert inspect.signature(fast.__class__.forward) == inspect.signature(Net.forward)
    assert fast.__class__.__name__ == "CompiledNet"
    assert isinstance(fast, fxsolve.Compiled)
    # torch.compile compiles again for each type.
    assert type(fast) is type(fxsolve.compile(nn.Linear(2, 2)))
    assert torch.equal(fast.forward(x), model(x))
    assert torch.equal(fast.__class__.forward(fast, x), model(x))
    assert [info.calls for info in fast.entries] == [1]


def test_a_forward_that_is_wrapped_and_set_again_becomes_that_of_the_program_once() -> None:
    model = Net()
    fast = fxsolve.compile(model, backend="eager", schedule="gs")
    own = fast.forward.__func__  # pyright: ignore[reportFunctionMemberAccess]
    fast.forward = lambda *args: own(fast, *args) * 2  # what trainers do for mixed precision
    assert torch.equal(fast(x), Net()(x) * 2)
    assert torch.equal(fast(x), Net()(x) * 2)
    assert str(fast.schedule) != "original", fast.report().reason
