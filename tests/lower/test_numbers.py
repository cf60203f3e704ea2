"""An op whose number changes with the step is one function of all steps: the numbers come as tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fxsolve
from fxsolve.lower.numbers import with_tensors

aten = torch.ops.aten
X = torch.randn(4, 5)
Y = torch.randn(4, 5)
N = torch.arange(20).view(4, 5) - 7

# An op, arguments with a number for each None, and numbers to put there.
OPS: list[tuple[Any, tuple[Any, ...], dict[str, Any], tuple[int | float, ...]]] = [
    (aten.full.default, ([2, 3], None), {}, (3, 0.5)),
    (aten.full.default, ([2, 3], None), {"dtype": torch.float64}, (3,)),
    (aten.full_like.default, (X, None), {}, (2, 0.25)),
    (aten.new_full.default, (N, [2], None), {}, (2,)),
    (aten.scalar_tensor.default, (None,), {}, (2, 0.5)),
    (aten.add.Tensor, (X, Y), {"alpha": None}, (2, 0.3)),
    (aten.sub.Tensor, (X, Y), {"alpha": None}, (3, 0.3)),
    (aten.rsub.Scalar, (X, None), {}, (1, 0.3)),
    (aten.lerp.Scalar, (X, Y, None), {}, (0.2, 0.9)),
    (aten.addcmul.default, (X, Y, Y), {"value": None}, (2, 0.1)),
    (aten.addcdiv.default, (X, Y, Y.abs() + 1), {"value": None}, (2, 0.1)),
    (aten.clamp.default, (X, None), {}, (-1, 0.2)),
    (aten.clamp.default, (X, None, None), {}, (-0.5,)),
    (aten.clamp_max.default, (N, None), {}, (3,)),
    (aten.hardtanh.default, (X, None), {}, (-0.1,)),
    (aten.leaky_relu.default, (X, None), {}, (0.3,)),
    (aten.masked_fill.Scalar, (X, X > 0, None), {}, (7, -0.5)),
    (aten.softplus.default, (X, None), {}, (1, 2.5)),
    (aten.fmod.Scalar, (X, None), {}, (2, 0.7)),
    (aten.remainder.Scalar, (N, None), {}, (3, 5)),
    (aten.floor_divide.Scalar, (N, None), {}, (3,)),
    (aten.pow.Scalar, (None, X), {}, (2, 1.5)),
    (aten.pow.Tensor_Scalar, (X.abs(), None), {}, (2, 0.5)),
    (aten.roll.default, (X, [None], [1]), {}, (0, 3, -2, 11)),
    (aten.select_scatter.default, (X, Y[0], 0, None), {}, (0, 3, -1)),
    (aten.select_scatter.default, (X, Y[:, 0], -1, None), {}, (2,)),
    (aten.tril.default, (X, None), {}, (-1, 2)),
    (aten.triu.default, (X, None), {}, (-1, 2)),
]


def fill(part: Any, number: Any) -> Any:
    if isinstance(part, (tuple, list)):
        return type(part)(fill(item, number) for item in part)
    return number if part is None else part


@pytest.mark.parametrize(("target", "args", "kwargs", "numbers"), OPS, ids=[str(row[0]) + str(row[3]) for row in OPS])
def test_a_function_of_a_tensor_gives_what_the_op_gives_for_its_number(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: tuple[int | float, ...]
) -> None:
    function = with_tensors(target)
    assert function is not None
    for number in numbers:
        wide = torch.tensor(number, dtype=torch.int64 if isinstance(number, int) else torch.float64)
        expected = target(*fill(args, number), **fill_options(kwargs, number))
        found = function(*fill(args, wide), **fill_options(kwargs, wide))
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected)


def fill_options(kwargs: dict[str, Any], number: Any) -> dict[str, Any]:
    return {name: fill(value, number) for name, value in kwargs.items()}


def time_and_bound(x: Tensor) -> Tensor:
    for k in range(20):
        t = torch.full((len(x), 1), k / 20)
        x = torch.clamp(torch.sin(x + 0.3 * t), -1 / (k + 1), 1 / (k + 1))
    return x


def moments(x: Tensor) -> Tensor:
    m = torch.zeros_like(x)
    for k in range(1, 21):
        m = torch.lerp(m, torch.tanh(x), 1 / k)
        x = torch.add(x, m, alpha=-0.1 / k)
    return x


def turned_and_written(x: Tensor) -> Tensor:
    for k in range(20):
        x = torch.roll(x, k % 3, 1).clone()
        x[:, k % 4] = F.softplus(x[:, (k + 1) % 4], beta=1 + k)
    return x


@pytest.mark.parametrize("program", [time_and_bound, moments, turned_and_written])
def test_loops_with_such_numbers_are_solved_for_all_steps_at_once(program: Callable[[Tensor], Tensor]) -> None:
    fast = fxsolve.compile(program, backend="eager", schedule="jacobi")
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(3, 4)
            torch.testing.assert_close(fast(x), program(x))
    assert "jacobi(loop0[" in str(fast.schedule)
    assert not any("runs in order" in note for note in fast.report().notes)
