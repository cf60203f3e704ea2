"""Single numbers of a step that Python computes: the same values, with tensors where these are wanted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.lower.readable import readable
from fxsolve.lower.scalars import with_numbers
from fxsolve.lower.trace import trace
from fxsolve.solvers.numbers import quotient

aten = torch.ops.aten
X = torch.tensor([3.0, -4.0])
NUMBER = torch.tensor(0.7, dtype=torch.float64)


def double(x: Tensor) -> Tensor:
    return aten._to_copy.default(x, dtype=torch.float64, device=torch.device("cpu"))


def converging(x: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    size = double(x.abs().max())
    error = (size - rate).abs() / (size + 1)
    return x / size, size, error < 0.4 * size


def of_tensors(x: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    return x * 2, rate, (x < 1).all()


def with_a_root(x: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    """No number of Python is computed from a root: it stays a tensor."""
    size = double(x.abs().max())
    return x, size, (size * 2).sqrt() < rate


def step(function: Callable[..., Any]) -> fx.GraphModule:
    module = trace(function, [X, NUMBER])
    return readable(module)


@pytest.mark.parametrize("function", [converging, of_tensors, with_a_root])
def test_values_are_the_same_to_the_last_bit(function: Callable[..., Any]) -> None:
    made = with_numbers(step(function), {2})
    for x in (X, X * 1e-3, X * 1e30, X * 0):
        found, wanted = made(x, NUMBER), function(x, NUMBER)
        for one, other in zip(found[:2], wanted[:2], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
            assert one.dtype == other.dtype
        assert bool(found[2]) == bool(wanted[2])


def test_what_is_read_of_numbers_is_computed_by_python() -> None:
    made = with_numbers(step(converging), {2})
    assert isinstance(made, fx.GraphModule)
    calls = {node.target for node in made.graph.nodes if node.op == "call_function"}
    assert not calls & {torch.lt, torch.sub, aten._to_copy.default}
    assert made(X, NUMBER)[2] is True


def test_a_decision_that_is_wanted_as_a_tensor_stays_one() -> None:
    made = with_numbers(step(converging), set())
    assert isinstance(made(X, NUMBER)[2], Tensor)


def test_a_step_without_numbers_stays_as_it_is() -> None:
    assert str(with_numbers(step(of_tensors), {2}).code) == str(step(of_tensors).code)


@pytest.mark.parametrize("one", [1.0, -1.0, 0.0, float("nan")])
@pytest.mark.parametrize("other", [0.0, -0.0, 2.0])
def test_a_quotient_is_that_of_torch(one: float, other: float) -> None:
    wanted = torch.tensor(one, dtype=torch.float64) / torch.tensor(other, dtype=torch.float64)
    assert repr(quotient(one, other)) == repr(wanted.item()).replace("-nan", "nan")
