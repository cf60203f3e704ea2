"""Numbers that a program reads and computes with in Python: followed as tensors, or guarded as they were."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.capture.capture import capture
from fxsolve.capture.program import Program
from fxsolve.capture.record.output import rebuild


def followed(program: Callable[..., Any], *args: Any) -> Program:
    with torch.no_grad():
        recorded = capture(program, args, {}, follows=True)
    wanted = program(*args)
    found = recorded.module(*recorded.example.inputs)[0]
    assert torch.equal(found, wanted[0] if isinstance(wanted, tuple) else wanted)
    return recorded


def guards(program: Callable[..., Any], *args: Any) -> list[Any]:
    return [guard.expected for guard in followed(program, *args).guards]


X = torch.tensor([0.3, -1.7, 2.9])


def test_a_comparison_is_guarded_by_its_outcome() -> None:
    def program(x: Tensor) -> Tensor:
        return x * 2 if x.max().item() > 1 else x

    assert guards(program, X) == [True]


def test_arithmetic_is_followed_into_tensors() -> None:
    def program(x: Tensor) -> Tensor:
        size = x.norm().item()
        scale = abs(1 - 3 * size) / (size + 0.5)
        return -scale * (x / size) + scale

    assert guards(program, X) == []
    recorded = followed(program, X)
    other = X * 1.7 + 0.1
    assert torch.equal(recorded.module(other)[0], program(other))


def test_a_call_of_float_is_followed_and_the_name_is_the_builtin_again() -> None:
    def program(x: Tensor) -> Tensor:
        size = float(x.norm())
        assert isinstance(size, float)
        return x / size if math.sqrt(size) < 1e3 else x

    assert guards(program, X) == [True]
    assert "float" not in globals()
    assert not hasattr(math.sqrt, "__wrapped__")


def test_whole_numbers_count() -> None:
    def program(x: Tensor) -> Tensor:
        return x * 2 if int((x > 0).sum()) >= 2 else x

    assert guards(program, X) == [True]


@pytest.mark.parametrize(
    "use",
    [
        lambda x, n: x + torch.full((3,), n),
        lambda x, n: x if f"{n:.3f}" else x * 2,
        lambda x, n: x * math.exp(n),
        lambda x, n: x + n**3,
        lambda x, n: x.clamp(max=n),
        lambda x, n: torch.add(x, x, alpha=n),
        lambda x, n: x.double() * round(n, 2),
        lambda x, n: {n: x}[n],
    ],
)
def test_elsewhere_it_is_the_number_that_was_read(use: Callable[[Tensor, Any], Tensor]) -> None:
    def program(x: Tensor) -> Tensor:
        return use(x, x.norm().item())

    assert guards(program, X)[0] == X.norm().item()


def test_what_is_returned_is_a_number_of_python() -> None:
    def program(x: Tensor) -> tuple[Tensor, float]:
        return x + 1, x.max().item()

    recorded = followed(program, X)
    assert recorded.guards == ()
    assert rebuild(recorded.output, recorded.module(X * 2)) == (pytest.approx(X * 2 + 1), float((X * 2).max()))


def test_a_number_that_outlives_the_run_is_not_followed() -> None:
    kept: list[float] = []

    def program(x: Tensor) -> Tensor:
        kept[:] = [x.max().item()]
        return x + kept[0]

    with torch.no_grad():
        recorded = capture(program, (X,), {}, follows=True)
    assert [guard.expected for guard in recorded.guards] == [X.max().item()]
    assert type(kept[0]) is float


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_results_have_the_dtype_that_a_number_leaves(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    def program(x: Tensor) -> Tensor:
        return x.sum(dtype=torch.float64).item() * x - x.amax().item()

    recorded = followed(program, torch.full(shape, 1.234).to(dtype))
    assert recorded.example.outputs[0].dtype == dtype
