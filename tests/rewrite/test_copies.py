"""Views that show a tensor as it lies in memory are left out of steps, and nothing else of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.stages import capture, partition

aten = torch.ops.aten
X, W = torch.randn(3, 4, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)


def products(x: Tensor) -> Tensor:
    for _ in range(6):
        x = torch.tanh(W @ x @ x.mT)
    return x


def turned_and_back(x: Tensor) -> Tensor:
    for _ in range(6):
        x = torch.sin(x.permute(1, 2, 0).permute(2, 0, 1)).clone()
    return x


def shaped_twice(x: Tensor) -> Tensor:
    for _ in range(6):
        x = torch.sin(x.reshape(12, 4).view(2, 24)).view(3, 4, 4)
    return x


def turned(x: Tensor) -> Tensor:
    for _ in range(6):
        x = torch.sin(x.mT) + x
    return x


def shaped_behind_a_turn(x: Tensor) -> Tensor:
    for _ in range(6):
        x = torch.sin(x.mT.reshape(3, 16)).view(3, 4, 4) * x.mT
    return x


def calls_of(program: Callable[[Tensor], Tensor]) -> list[object]:
    with torch.no_grad():
        (loop,) = partition(capture(program, X)).system.repeats
    return [node.target for node in loop.body.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("program", "views"),
    [(products, 1), (turned_and_back, 0), (shaped_twice, 2), (turned, 1), (shaped_behind_a_turn, 4)],
)
def test_only_views_that_show_another_tensor_are_left(program: Callable[[Tensor], Tensor], views: int) -> None:
    kinds = (aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.permute.default)
    turns = (aten.transpose.int, aten.mT.default, aten.numpy_T.default)
    assert sum(call in (*kinds, *turns) for call in calls_of(program)) == views


@pytest.mark.parametrize("program", [products, turned_and_back, shaped_twice, turned, shaped_behind_a_turn])
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_values_stay_as_they_are(program: Callable[[Tensor], Tensor], schedule: str) -> None:
    fast = fxsolve.compile(program, backend="eager", schedule=schedule)
    with torch.no_grad():
        for x in (X, X.mT.contiguous().mT, X * 2):
            found, wanted = fast(x), program(x)
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
            assert found.stride() == wanted.stride()
    assert fast.report().status == "emitted"


def test_a_view_that_a_step_returns_stays() -> None:
    def program(x: Tensor) -> Tensor:
        seen = []
        for _ in range(6):
            x = torch.sin(x)
            seen.append(x.view(3, 4, 4))
        return torch.stack(seen)

    assert aten.view.default in calls_of(program)
