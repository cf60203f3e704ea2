"""Recurrent cells written by hand, their Jacobians, and random chains of their steps.

Every cell adds products one by one, entry by entry, so that a step gives the same bits alone and in a stack: the order
in which a matrix product or a reduction adds depends on the shapes.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import jacrev

from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.layout import Layout, pack, unpack
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.newton import Box, newton
from fxsolve.solvers.solution import Solution, observe

Results = tuple[Tensor, ...]


def mix(w: Tensor, s: Tensor) -> Tensor:
    """w s for s (..., n) and w (..., m, n)."""
    return add([w[..., k] * s[..., k : k + 1] for k in range(s.shape[-1])])


def add(terms: list[Tensor]) -> Tensor:
    return reduce(operator.add, terms)


def sigmoid(x: Tensor) -> Tensor:
    """By tanh: torch.sigmoid rounds differently at the end of a row, where it computes entries one by one."""
    return torch.tanh(x / 2) / 2 + 0.5


def tanh_cell(s: Tensor, x: Tensor, w: Tensor) -> Results:
    return (torch.tanh(mix(w, s) + x),)


def diagonal_cell(s: Tensor, x: Tensor, w: Tensor) -> Results:
    return (torch.tanh(w[:, 0] * s + x),)


def square_cell(s: Tensor, x: Tensor, w: Tensor) -> Results:
    return (mix(w, s * s) + x,)


def gru_cell(s: Tensor, x: Tensor, w: Tensor) -> Results:
    r, z, n = (mix(part, s) for part in w.chunk(3))
    r, z = sigmoid(r + x), sigmoid(z - x)
    return ((1 - z) * torch.tanh(r * n + x) + z * s,)


def lstm_cell(h: Tensor, c: Tensor, x: Tensor, w: Tensor) -> Results:
    i, f, g = (mix(part, h) for part in w.chunk(3))
    c = sigmoid(f + x) * c + sigmoid(i - x) * torch.tanh(g + x)
    return torch.tanh(c), c


def affine_cell(s: Tensor, x: Tensor, w: Tensor) -> Results:
    return (mix(w, s) + x,)


CELLS: dict[str, tuple[Callable[..., Results], int, int]] = {
    "tanh": (tanh_cell, 1, 1),
    "diagonal": (diagonal_cell, 1, 1),
    "gru": (gru_cell, 1, 3),
    "lstm": (lstm_cell, 2, 3),
    "affine": (affine_cell, 1, 1),
    "square": (square_cell, 1, 1),
}
"""Each cell with the number of its carries and of its weight matrices."""


class Cell(nn.Module):
    """The sum of the carries of a cell, which is not carried, and the carries."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *reads: Tensor) -> Results:
        carried = CELLS[self.kind][0](*reads)
        return (add([*carried]), *carried)


class Linear(nn.Module):
    """The outputs of a cell and the Jacobian in packed coordinates, whole or its diagonal."""

    def __init__(self, body: nn.Module, layout: Layout, diagonal: bool = False) -> None:
        super().__init__()
        self.body = body
        self.layout = layout
        self.diagonal = diagonal

    def forward(self, *reads: Tensor) -> Results:
        *lagged, x, w = reads
        state = pack(self.layout, lagged)
        n, length = state.shape[-1], len(x)
        entries = state[0].numel() // n
        jacobian = torch.vmap(jacrev(self._step), in_dims=(0, 0, None))(state, x, w)
        blocks = jacobian.reshape(length, entries, n, entries, n).diagonal(dim1=1, dim2=3).movedim(-1, 1)
        blocks = blocks.reshape(length, *self.layout.batch, n, n)
        if n == 1:
            return (*self.body(*reads), blocks[..., 0, 0])
        return (*self.body(*reads), blocks.diagonal(dim1=-2, dim2=-1) if self.diagonal else blocks)

    def _step(self, state: Tensor, x: Tensor, w: Tensor) -> Tensor:
        lagged = [value[0] for value in unpack(self.layout, state.unsqueeze(0))]
        outputs = self.body(*lagged, x, w)
        return pack(self.layout, [outputs[number].unsqueeze(0) for number in self.layout.outputs])[0]


@dataclass(frozen=True)
class CellChain:
    """A loop over a cell, its start, what arrives at each step, and its weights."""

    kind: str
    initial: tuple[Tensor, ...]
    x: Tensor
    w: Tensor

    @property
    def carries(self) -> int:
        return len(self.initial)

    @property
    def loop(self) -> Loop:
        lags = tuple(LoopLag(number, 1) for number in range(1, self.carries + 1))
        return Loop(Cell(self.kind), len(self.x), lags, stacked=tuple(range(self.carries + 1)))

    @property
    def layout(self) -> Layout:
        """The batch is independent; in an elementwise cell every entry is."""
        shape = tuple(self.initial[0].shape)
        batch = shape if self.kind == "diagonal" else shape[:-1]
        orders = tuple(tuple(range(len(shape))) for _ in self.initial)
        return Layout(tuple(range(1, self.carries + 1)), (shape,) * self.carries, batch, orders)

    @property
    def arguments(self) -> tuple[object, ...]:
        return (tuple((value,) for value in self.initial), (), (self.x,), (self.w,))

    def linear(self, diagonal: bool = False) -> Linear:
        return Linear(Cell(self.kind), self.layout, diagonal)

    def double(self) -> "CellChain":
        return replace(self, initial=tuple(v.double() for v in self.initial), x=self.x.double(), w=self.w.double())

    def sequential(self) -> Results:
        return gauss_seidel(self.loop, *self.arguments)

    def newton(
        self,
        atol: float = 0.0,
        rtol: float = 0.0,
        max_steps: int | None = None,
        bounds: tuple[int, ...] = (),
        box: Box = (),
        diagonal: bool = False,
    ) -> tuple[Results, Solution]:
        limits = bounds or (0, len(self.x))
        options = (*self.arguments, atol, rtol, max_steps, limits, box)
        with observe() as seen:
            results = newton(self.loop, self.linear(diagonal), self.layout, *options)
        (solution,) = seen
        return results, solution


def make_chain(kind: str, gain: float, dtype: torch.dtype, length: int, batch: int, size: int, seed: int) -> CellChain:
    """Weights of spectral radius about `gain`, and inputs of size 1."""
    generator = torch.Generator().manual_seed(seed)
    _, carries, matrices = CELLS[kind]
    w = gain * torch.randn(matrices * size, size, generator=generator, dtype=torch.float64) / size**0.5
    x = torch.randn(length, batch, size, generator=generator, dtype=torch.float64)
    start = [torch.randn(batch, size, generator=generator, dtype=torch.float64) for _ in range(carries)]
    return CellChain(kind, tuple(value.to(dtype) for value in start), x.to(dtype), w.to(dtype))


def cell_chains(
    dtype: torch.dtype, kinds: tuple[str, ...], gains: tuple[float, ...] = (0.9, 1.2, 1.6, 2.0), most: int = 24
) -> st.SearchStrategy[CellChain]:
    """Short chains of any of the cells, from contractive to chaotic."""
    return st.builds(
        make_chain,
        kind=st.sampled_from(kinds),
        gain=st.sampled_from(gains),
        dtype=st.just(dtype),
        length=st.integers(1, most),
        batch=st.integers(1, 2),
        size=st.integers(1, 4),
        seed=st.integers(0, 2**32),
    )
