"""Pages of five programs: a recurrence in training, two samplers, a deep network, and one with nothing to do."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fxsolve
from tests.straight import DenseNet


class Recurrence(nn.Module):
    """A GRU over 96 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[1], 8)
        for x_t in x:
            h = self.cell(x_t, h)
        return h


class Made(nn.Module):
    """Draws 64 pixels one after another, by masked layers."""

    def __init__(self, pixels: int = 64, hidden: int = 64) -> None:
        super().__init__()
        order, unit = torch.arange(pixels), torch.arange(hidden) % (pixels - 1)
        self.inner, self.outer = nn.Linear(pixels, hidden), nn.Linear(hidden, pixels)
        self.register_buffer("inner_mask", (unit[:, None] >= order).float())
        self.register_buffer("outer_mask", (order[:, None] > unit).float())

    def forward(self, noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(noise.shape[1]):
            h = torch.relu(nn.functional.linear(x, self.inner.weight * self.inner_mask, self.inner.bias))
            logits = nn.functional.linear(h, self.outer.weight * self.outer_mask, self.outer.bias)
            x[:, i] = (noise[:, i] < torch.sigmoid(logits[:, i])).float()
        return x


class MaskedConv(nn.Conv2d):
    """Sees the pixels above, and to the left."""

    def __init__(self, inside: int, outside: int, first: bool) -> None:
        super().__init__(inside, outside, 3, padding=1)
        mask = torch.ones(3, 3)
        mask[1, 2 - first :] = 0
        mask[2] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight * self.mask, self.bias, padding=1)


class PixelCNN(nn.Module):
    """Draws 6 x 6 pixels, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(MaskedConv(1, 8, True), nn.ReLU(), MaskedConv(8, 8, False), nn.ReLU())
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(noise.shape[2]):
            for j in range(noise.shape[3]):
                logits = self.head(self.net(x))
                x[:, :, i, j] = (noise[:, :, i, j] < torch.sigmoid(logits[:, :, i, j])).float()
        return x


def _trained() -> Any:
    fast: Any = fxsolve.compile(Recurrence(), schedule="jacobi", backend="eager")
    for _ in range(2):
        fast(torch.randn(96, 2, 8)).sum().backward()
    return fast


def _sampled(model: nn.Module, shape: tuple[int, ...], schedule: str) -> Any:
    fast: Any = fxsolve.compile(model.eval(), schedule=schedule, backend="eager")
    with torch.no_grad():
        for _ in range(2):
            fast(torch.rand(shape))
    return fast


def _densenet() -> Any:
    """DenseNet-121: 6, 12, 24 and 16 layers."""
    fast: Any = fxsolve.compile(DenseNet((6, 12, 24, 16)).eval(), backend="eager", on_left_alone="ignore")
    with torch.no_grad():
        fast(torch.randn(1, 3, 32, 32))
    return fast


def _left_alone() -> Any:
    fast: Any = fxsolve.compile(torch.tanh)
    fast(torch.ones(3))
    return fast


PROGRAMS: Mapping[str, Callable[[], Any]] = {
    "gru": _trained,
    "made": lambda: _sampled(Made(), (4, 64), "jacobi"),
    "densenet121": _densenet,
    "pixelcnn": lambda: _sampled(PixelCNN(), (2, 1, 6, 6), "jacobi"),
    "left_alone": _left_alone,
}


def write_pages(folder: Path) -> dict[str, Path]:
    """The page of each program, by its name."""
    torch.manual_seed(0)
    return {name: make().save(folder / f"{name}.html") for name, make in PROGRAMS.items()}
