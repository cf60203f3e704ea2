"""Random triangular loops whose body serves one step and a stack of steps alike."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.loop import Buffer, Loop, LoopLag


class Mix(nn.Module):
    """o_k = act(sum_j c_kj lag_j + sum_b e_kb sum(mask_b * buffer_b) + x_t + scale), entry by entry."""

    def __init__(self, lag_weights: Tensor, buffer_weights: Tensor, dims: tuple[int, ...], act: str) -> None:
        super().__init__()
        self.lag_weights = lag_weights
        self.buffer_weights = buffer_weights
        self.dims = dims
        self.act = act

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        lags, buffers = self.lag_weights.shape[1], len(self.dims)
        lagged, whole = reads[:lags], reads[lags : lags + buffers]
        arriving, masks, scale = reads[lags + buffers], reads[lags + buffers + 1 : -1], reads[-1]
        seen = [
            (buffer.movedim(dim, -1) * mask.unsqueeze(-2)).sum(-1)
            for buffer, dim, mask in zip(whole, self.dims, masks, strict=True)
        ]
        outputs = []
        for row, buffer_row in zip(self.lag_weights, self.buffer_weights, strict=True):
            total = arriving + scale
            for weight, value in [*zip(row, lagged, strict=True), *zip(buffer_row, seen, strict=True)]:
                total = total + weight * value
            outputs.append(self.activate(total))
        return tuple(outputs)

    def activate(self, total: Tensor) -> Tensor:
        if self.act == "modulo":
            return total % 7
        return torch.tanh(total) if self.act == "tanh" else total * total


@dataclass(frozen=True)
class Case:
    """A loop and its arguments; `depth` bounds the sweeps that Jacobi needs."""

    loop: Loop
    initial: tuple[tuple[Tensor, ...], ...]
    buffers: tuple[Tensor, ...]
    per_step: tuple[Any, ...]
    shared: tuple[Any, ...]

    @property
    def depth(self) -> int:
        distances = [lag.distance for lag in self.loop.lags] + [1 for _ in self.loop.buffer_specs]
        return -(-self.loop.length // min(distances, default=self.loop.length))

    def sequential(self) -> tuple[Tensor, ...]:
        return gauss_seidel(self.loop, self.initial, self.buffers, self.per_step, self.shared)

    def swept(
        self, atol: float = 0.0, rtol: float = 0.0, max_sweeps: int | None = None, bounds: tuple[int, ...] = ()
    ) -> tuple[Tensor, ...]:
        limits = bounds or (0, self.loop.length)
        return jacobi(self.loop, self.initial, self.buffers, self.per_step, self.shared, atol, rtol, max_sweeps, limits)


@st.composite
def cases(
    draw: st.DrawFn, dtype: torch.dtype, act: str, gain: float = 0.5, most: int = 12, buffers: bool = True
) -> Case:
    """A loop with up to 3 outputs, 3 lags of distance up to 3 and 2 buffers written in a random order.

    The weights of one output sum to at most `gain` in absolute value.
    """
    length, outputs, size = draw(st.integers(1, most)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    number = st.integers(0, outputs - 1)
    lags = tuple(draw(st.lists(st.builds(LoopLag, number, st.integers(1, 3)), max_size=3)))
    widths = draw(st.lists(st.integers(length, length + 2), max_size=2 if buffers else 0))
    specs = tuple(
        Buffer(draw(number), draw(st.integers(0, 1)), tuple(draw(_order(width)))[:length]) for width in widths
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def values(*shape: int) -> Tensor:
        if dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=dtype)
        return torch.randint(-3, 4, shape, generator=generator, dtype=dtype)

    lag_weights, buffer_weights = values(outputs, len(lags)), values(outputs, len(specs))
    if dtype.is_floating_point:
        # A buffer read sums up to `length` entries.
        norm = lag_weights.abs().sum(1) + length * buffer_weights.abs().sum(1) + 1e-3
        lag_weights, buffer_weights = (gain * (w / norm[:, None]) for w in (lag_weights, buffer_weights))
    shapes = [(width, size) if spec.dim == 0 else (size, width) for spec, width in zip(specs, widths, strict=True)]
    masks = [_mask(spec.index, width).to(dtype) for spec, width in zip(specs, widths, strict=True)]
    return Case(
        Loop(
            Mix(lag_weights, buffer_weights, tuple(spec.dim for spec in specs), act),
            length,
            lags,
            specs,
            stacked=tuple(draw(st.lists(number, max_size=3, unique=True))),
            last=tuple(draw(st.lists(number, max_size=2, unique=True))),
        ),
        initial=tuple(tuple(values(size) for _ in range(lag.distance)) for lag in lags),
        buffers=tuple(values(*shape) for shape in shapes),
        per_step=(values(length, size), *masks),
        shared=(values(size),),
    )


def bounds(length: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Any way of cutting `length` steps into windows."""
    cuts = st.sets(st.integers(1, length - 1)) if length > 1 else st.just(set())
    return cuts.map(lambda inner: (0, *sorted(inner), length))


def _order(width: int) -> st.SearchStrategy[list[int]]:
    """Often in order, as most programs write, sometimes not."""
    return st.just(list(range(width))) | st.permutations(list(range(width)))


def _mask(index: tuple[int, ...], width: int) -> Tensor:
    """Row t has ones at the entries written before step t."""
    mask = torch.zeros(len(index), width)
    for t in range(len(index)):
        mask[t, list(index[:t])] = 1
    return mask
