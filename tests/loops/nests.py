"""Loops in loops, written as people write them, with the nest that must be found in each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Repeat, System

B, N = 2, 3
LAYERS, LONG, ROWS, COLUMNS = 4, 7, 4, 9

Shape = tuple[Any, ...]  # (steps, the shapes of the loops inside...)


@dataclass(frozen=True)
class Nest:
    """A program, the shape of its input, and the shapes of the repeats that must be found, in order."""

    name: str
    make: Callable[[], Callable[..., Any]]
    shape: tuple[int, ...]
    found: tuple[Shape, ...]

    def __str__(self) -> str:
        return self.name

    def program(self) -> Callable[..., Any]:
        torch.manual_seed(0)
        made = self.make()
        return made.double() if isinstance(made, nn.Module) else made

    def inputs(self, count: int) -> list[Tensor]:
        return [torch.randn(self.shape, dtype=torch.float64) for _ in range(count)]


def shape_of(repeat: Repeat) -> Shape:
    return (repeat.length, *map(shape_of, loops_inside(repeat)))


def shapes_of(system: System) -> tuple[Shape, ...]:
    return tuple(map(shape_of, system.repeats))


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.keep = nn.Linear(N, N), nn.Linear(N, N)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.read(x) + self.keep(h))


class LayersOverTime(nn.Module):
    """Each layer has its own weights and runs over the whole sequence, behind a norm and beside a residual."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell() for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(N) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for cell, norm in zip(self.cells, self.norms, strict=True):
            h, states = torch.zeros_like(x[0]), []
            for x_t in norm(x).unbind(0):
                h = cell(x_t, h)
                states.append(h)
            x = x + torch.stack(states)
        return x


class StackedGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.GRUCell(N, N) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = []
        for cell in self.cells:
            h, states = torch.zeros_like(x[0]), []
            for t in range(len(x)):
                h = cell(x[t], h)
                states.append(h)
            x = torch.stack(states)
            last.append(h)
        return x, torch.stack(last)


class LayersBackwards(nn.Module):
    """Every layer reads the sequence from its end."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell() for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        for cell in self.cells:
            h, states = torch.ones_like(x[0]), []
            for t in range(len(x) - 1, -1, -1):
                h = cell(x[t], h)
                states.append(h)
            x = torch.stack(states)
        return x


class Dropped(nn.Module):
    """Draws in every step of the loop inside."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.drop = nn.ModuleList(Cell() for _ in range(LAYERS)), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        for cell in self.cells:
            h, states = torch.zeros_like(x[0]), []
            for t in range(len(x)):
                h = self.drop(cell(x[t] + 0.1 * torch.randn_like(x[t]), h))
                states.append(h)
            x = torch.stack(states)
        return x


class Rows(nn.Module):
    """A row reads the one above through a gate, a pixel the one to its left."""

    def __init__(self) -> None:
        super().__init__()
        self.above, self.cell = nn.Linear(N, N), Cell()

    def forward(self, x: Tensor) -> Tensor:
        above, rows = torch.zeros_like(x[0]), []
        for r in range(x.shape[0]):
            gate, left, row = torch.sigmoid(self.above(above)), torch.zeros_like(x[0, 0]), []
            for c in range(x.shape[1]):
                left = self.cell(x[r, c] + gate[c], left)
                row.append(left)
            above = torch.stack(row)
            rows.append(above)
        return torch.stack(rows)


class RowStarts(nn.Module):
    """What a pixel reads of the input needs no other pixel: one sweep for all rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.next, self.cell = nn.Linear(N, N), Cell()

    def forward(self, x: Tensor) -> Tensor:
        start, rows = torch.zeros_like(x[0, 0]), []
        for r in range(x.shape[0]):
            left, row = torch.relu(start), []
            for c in range(x.shape[1]):
                left = self.cell(x[r, c], left)
                row.append(left)
            start = torch.tanh(self.next(left))
            rows.append(torch.stack(row))
        return torch.stack(rows)


class Filled(nn.Module):
    """Writes its pixels into one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        for r in range(x.shape[0]):
            h = torch.relu(x[r].mean(0))
            for c in range(x.shape[1]):
                h = self.cell(x[r, c], h)
                out[r, c] = h
        return out


def numbered(x: Tensor) -> Tensor:
    """Numbers of both loops, in values and in places."""
    out, s = x.clone(), torch.zeros_like(x[0, 0])
    for r in range(x.shape[0]):
        s = torch.cos(s)
        for c in range(x.shape[1]):
            s = torch.sin(s * (0.1 * r + 0.01 * c) + x[r, (3 * c + r) % x.shape[1]]) / (1 + r)
            out[r, c] = s
    return out


class Unfolded(nn.Module):
    """A step in time is several steps of a solver, as in liquid networks."""

    def __init__(self, substeps: int = COLUMNS) -> None:
        super().__init__()
        self.read, self.keep, self.write = nn.Linear(N, N), nn.Linear(N, N), nn.Linear(N, N)
        self.substeps = substeps

    def forward(self, x: Tensor) -> Tensor:
        h, out = torch.zeros_like(x[0]), []
        for x_t in x:
            u = torch.tanh(self.read(x_t))
            for _ in range(self.substeps):
                h = h + 0.1 * (torch.tanh(self.keep(h) + u) - h)
            out.append(torch.relu(self.write(h)))
        return torch.stack(out)


class DeepUnfolded(nn.Module):
    """Layers, time and substeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Unfolded(11) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Encoded(nn.Module):
    """The loop inside starts from the same values at every step, so it runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def forward(self, x: Tensor) -> Tensor:
        out = []
        for x_t in x:
            h = torch.ones_like(x[0])
            for _ in range(COLUMNS):
                h = self.cell(x[0], h)
            out.append(torch.exp(h) * x_t)
        return torch.stack(out)


class LastOnly(nn.Module):
    """The loop inside is wanted after the last step alone, so it runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def forward(self, x: Tensor) -> Tensor:
        s = h = torch.zeros_like(x[0])
        for x_t in x:
            s = torch.exp(-s) + x_t
            h = torch.ones_like(s)
            for _ in range(COLUMNS):
                h = self.cell(x_t * s, h)
        return h


class Listed(nn.Module):
    """Every pixel goes to one list: single steps of the loops inside are read from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def forward(self, x: Tensor) -> Tensor:
        h, pixels = torch.zeros_like(x[0, 0]), []
        for row in x:
            h = torch.relu(h)
            for pixel in row:
                h = self.cell(pixel, h)
                pixels.append(h)
        return torch.stack(pixels)


class MaskedRows(nn.Module):
    """The loop inside reads its buffer whole, through the zeros of a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(COLUMNS, COLUMNS))
        self.mask = nn.Buffer(torch.tril(torch.ones(COLUMNS, COLUMNS), -1))

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for row in x:
            y = torch.zeros_like(row)
            for c in range(COLUMNS):
                y[:, c] = torch.tanh(y @ (self.weight * self.mask).T + row)[:, c]
            rows.append(torch.exp(y))
        return torch.stack(rows)


class ShortSteps(nn.Module):
    """Few calls a step: it stays one straight line."""

    def __init__(self) -> None:
        super().__init__()
        self.unfolded = Unfolded(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.unfolded(x)


SEQUENCE, IMAGE = (LONG, B, N), (ROWS, COLUMNS, B, N)

NESTS = (
    Nest("layers_over_time", LayersOverTime, SEQUENCE, ((LAYERS, (LONG,), (LONG,)),)),
    Nest("stacked_gru", StackedGRU, SEQUENCE, ((LAYERS, (LONG,), (LONG,)),)),
    Nest("layers_backwards", LayersBackwards, SEQUENCE, ((LAYERS, (LONG,), (LONG,)),)),
    Nest("dropped", Dropped, SEQUENCE, ((LAYERS, (LONG,), (LONG,)),)),
    Nest("rows", Rows, IMAGE, ((ROWS, (COLUMNS,), (COLUMNS,)),)),
    Nest("row_starts", RowStarts, IMAGE, ((ROWS, (COLUMNS,)), (ROWS, (COLUMNS,)), (ROWS,))),
    Nest("filled", Filled, IMAGE, ((ROWS, (COLUMNS,)), (ROWS, (COLUMNS,)))),
    Nest("numbered", lambda: numbered, IMAGE, ((ROWS, (COLUMNS,)),)),
    Nest("unfolded", Unfolded, (4, B, N), ((4,), (4, (COLUMNS,)), (4,))),
    Nest("deep_unfolded", DeepUnfolded, (4, B, N), ((3, (4,), (4, (11,)), (4,)),)),
    Nest("last_only", LastOnly, (4, B, N), ((4,), (COLUMNS,))),
    Nest("encoded", Encoded, (4, B, N), ((COLUMNS,), (4,))),
)
FLAT = (
    Nest("listed", Listed, IMAGE, ((COLUMNS,), (COLUMNS,)) * ROWS),
    Nest("masked_rows", MaskedRows, (4, B, COLUMNS), ((COLUMNS,),) * 4),
    Nest("short_steps", ShortSteps, (20, B, N), ((20,), (20,), (20,))),
)
