"""Whole networks through `compile` with schedules over blocks: training, random numbers, state, branches, ties."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from tests.straight import DenseNet

METHODS = ("jacobi", "levels")


class Dropped(nn.Module):
    """Draws in two of its layers; returns a value from the middle and its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(10, 5), nn.Linear(15, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = nn.functional.dropout(torch.tanh(self.a(x)), 0.4)
        z = torch.tanh(self.b(torch.cat([x, y], 1)))
        return self.c(torch.cat([x, y, nn.functional.dropout(z, 0.2)], 1)), y, x


class Counting(nn.Module):
    """Keeps the sum of what a layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 2)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.b(torch.relu(self.a(x)))
        self.seen.add_(y.detach().mean(0))  # pyright: ignore[reportCallIssue]
        return self.c(y + self.seen), y[:, :2]


class Branching(nn.Module):
    """Reads a number that a layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        y = self.b(torch.relu(self.a(x)))
        return (self.c(2 * y if y.sum() > 0 else y),)


class Largest(nn.Module):
    """Its backward pass compares values with the largest among them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(1, 4)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.b(torch.tanh(self.a(x)).amax(1, keepdim=True)),)


class Trained(nn.Module):
    """Batch statistics are taken, and kept, in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.net = DenseNet((3,))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.net(x),)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch statistics": (Trained, (2, 3, 8, 8)),
    "dropout": (Dropped, (3, 4)),
    "a buffer": (Counting, (3, 4)),
    "a branch": (Branching, (3, 4)),
    "ties": (Largest, (3, 4)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_training_is_that_of_the_network(name: str, method: str) -> None:
    make, shape = CASES[name]
    plain = make().train()
    swept = deepcopy(plain)
    fast = fxsolve.compile(swept, backend="eager", schedule=method)
    for call in range(3):
        x = torch.randn(shape)
        torch.manual_seed(call)
        expected = plain(x)
        torch.manual_seed(call)
        found = fast(x)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        sum(one.square().sum() for one in expected).backward()
        sum(one.square().sum() for one in found).backward()
    assert fast.report().status == "emitted"
    assert f"{method}(block0" in fast.report().schedule
    pairs = zip(plain.parameters(), swept.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad) for a, b in pairs)  # pyright: ignore[reportArgumentType]
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), swept.buffers(), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_comes_out_as_the_network_gives_it(bad: float) -> None:
    net, x = DenseNet((2, 3)).eval(), torch.randn(2, 3, 16, 16)
    fast = fxsolve.compile(net, backend="eager", schedule="jacobi")
    with torch.no_grad():
        fast(x)
        assert torch.equal(fast(x), net(x))
        x[0, 0, 3, 3] = bad
        assert torch.allclose(fast(x), net(x), equal_nan=True)
    assert fast.report().runs[0].sweeps == 2


def test_the_emitted_code_names_layers_and_one_call_for_all_sweeps() -> None:
    net, x = DenseNet((2, 3)).eval(), torch.randn(2, 3, 16, 16)
    fast = fxsolve.compile(net, backend="eager", schedule="jacobi")
    with torch.no_grad():
        fast(x)
    code = fast.code.partition("# self.")[0]  # without the bodies
    assert "block0_features_denseblock1 = self.block0_features_denseblock1" in code
    assert code.count("jacobi_blocks(") == 2
    assert code.count("torch.convolution(") == 2, "those in order: of the stem and the transition"
