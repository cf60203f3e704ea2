"""Cells with state, as users write them, and the comparison of their gradients with those of an untouched copy."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxsolve

HIDDEN, FEATURES, STEPS, BATCH = 5, 3, 12, 2


class Weighted(nn.Module):
    """The weights of a state and of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(HIDDEN, HIDDEN) * 0.4)
        self.U = nn.Parameter(torch.randn(FEATURES, HIDDEN) * 0.3)


class Tanh(Weighted):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[0], HIDDEN)
        states = []
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.W + x[:, t] @ self.U)
            states.append(h)
        return torch.stack(states, 1), h


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Linear(FEATURES, 3 * HIDDEN)
        self.h = nn.Linear(HIDDEN, 3 * HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], HIDDEN)
        states = []
        for t in range(x.shape[1]):
            a, b = self.x(x[:, t]).chunk(3, -1), self.h(h).chunk(3, -1)
            r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
            h = (1 - z) * torch.tanh(a[2] + r * b[2]) + z * h
            states.append(h)
        return torch.stack(states)


class LstmCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, HIDDEN)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.shape[0], HIDDEN)
        states = []
        for x_t in x.unbind(1):
            h, c = self.cell(x_t, (h, c))
            states.append(h)
        return torch.stack(states), c


class Surrogate(torch.autograd.Function):
    """A step whose derivative is not that of what it computes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
        (x,) = ctx.saved_tensors
        return gradient / (1 + 3 * x.abs()) ** 2


class Spiking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Linear(FEATURES, HIDDEN)
        self.h = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        membrane = x.new_zeros(x.shape[0], HIDDEN)
        spikes = torch.zeros_like(membrane)
        rows = []
        for t in range(x.shape[1]):
            membrane = 0.9 * membrane + self.x(x[:, t]) + self.h(spikes) - spikes.detach()
            spikes = Surrogate.apply(membrane - 0.3)
            rows.append(spikes)
        return torch.stack(rows), membrane


class StraightThrough(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(HIDDEN, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(x[:, 0], (0, HIDDEN - FEATURES))
        for t in range(x.shape[1]):
            soft = torch.tanh(h @ self.W + x[:, t].sum(-1, keepdim=True))
            h = soft + (soft.round() - soft).detach()
        return h


class Diagonal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.rand(HIDDEN))
        self.B = nn.Parameter(torch.randn(FEATURES, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        inputs = x @ self.B
        h = torch.zeros_like(inputs[:, 0])
        states = []
        for t in range(x.shape[1]):
            h = self.a * h + inputs[:, t]
            states.append(h)
        return torch.stack(states, 1)


class Columns(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        rows, h = x.new_zeros(x.shape[1], x.shape[0], HIDDEN), x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.W + x[:, t] @ self.U)
            rows[t] = h
        return rows


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, FEATURES)) for _ in range(STEPS))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


class Dropped(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            h = F.dropout(torch.tanh(h @ self.W + x[:, t] @ self.U), 0.3, self.training)
        return h


CELLS = [Tanh, Gru, LstmCell, Spiking, StraightThrough, Diagonal, Columns, Layers]
Cell = Callable[[], nn.Module]


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(BATCH, STEPS, FEATURES, dtype=dtype)


def pair(cell: Cell, dtype: torch.dtype = torch.float64, schedule: str = "gs") -> tuple[Any, nn.Module]:
    """A compiled cell, and an untouched copy of the same cell."""
    torch.manual_seed(0)
    model = cell().to(dtype)
    return fxsolve.compile(model, schedule=schedule, backend="eager"), copy.deepcopy(model)


def tensors_of(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def gradients(model: Any, x: Tensor) -> list[Tensor | None]:
    """The gradients, of the input first, of a fixed random combination of all outputs."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    generator = torch.Generator().manual_seed(1)
    outputs = tensors_of(model(x))
    total = sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in outputs)
    total.backward()  # pyright: ignore
    return [x.grad, *(p.grad for p in model.parameters())]


def assert_close(found: list[Tensor | None], expected: list[Tensor | None], rtol: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one - other).abs().max() <= rtol * other.abs().max()


def assert_emitted(fast: Any) -> None:
    report = fast.report()
    assert report.status == "emitted", report.reason
    assert report.gradient_check is not None
