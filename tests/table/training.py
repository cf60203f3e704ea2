"""Rows: gradients of programs, taken from outside; forward and backward loops are both rolled."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.cells import Surrogate
from tests.table.effects import Normalized
from tests.table.layers import CellLoop, cell_loop
from tests.table.row import SEQUENCE, VECTOR, WEIGHTED, B, Double, N, T, numbers, row, rows_of, tensors

OUTSIDE: dict[str, Any] = {"grad": True, "mode": torch.enable_grad, "tolerance": 1e-12}


@row(
    WEIGHTED,
    "6: invariant, lag 1, slices",
    "4: invariant, lag 1, slices",
    "4: lag 1, slices",
    affine=2,
    **OUTSIDE,
)
def trained_list_and_stack(x: Tensor, w: Tensor):
    h, states = torch.zeros_like(x[0]), []
    for x_t in x:
        h = torch.tanh(h @ w + x_t)
        states.append(h)
    return torch.stack(states), h


@row(SEQUENCE, "6: lag 1, slices", "5: lag 1, slices", "5: lag 1, slices, table", affine=2, **OUTSIDE)
def trained_backwards(x: Tensor):
    h, states = torch.zeros_like(x[0]), []
    for t in reversed(range(T)):
        h = torch.tanh(h * 0.5 + x[t])
        states.insert(0, h)
    return torch.stack(states)


@row(SEQUENCE, "6: lag 1, slices", "5: lag 1, slices", "5: lag 1, slices, table", affine=2, **OUTSIDE)
def trained_two_steps_back(x: Tensor):
    g, h = x[0], x[1]
    for t in range(T):
        g, h = h, torch.tanh(0.5 * h - 0.3 * g + x[t])
    return g, h


@row(
    SEQUENCE,
    "5: lag 1, slices",
    "3: lag 1, slices",
    "3: slices",
    "3: lag 1, slices, table",
    affine=2,
    **OUTSIDE,
)
def trained_buffer(x: Tensor):
    y = torch.zeros_like(x)
    for t in range(1, T):
        y[t] = torch.tanh(y[t - 1].clone() + x[t])
    return y


@row(SEQUENCE, "5: lag 1, slices", "4: lag 1, slices", "4: lag 1, slices, table", affine=2, **OUTSIDE)
def trained_first_step_differs(x: Tensor):
    h = torch.sin(x[0])
    for t in range(1, T):
        h = torch.tanh(h * 0.5 + x[t])
    return h


@row(SEQUENCE, ran="original", reason="were not rolled: shapes change at every step", **OUTSIDE)
def trained_grown_and_read_whole(x: Tensor):
    y = x[:1]
    for t in range(1, T):
        weights = torch.softmax((y * x[t]).sum(-1), 0)
        y = torch.cat([y, (weights[..., None] * y).sum(0, keepdim=True)])
    return y


@row(SEQUENCE, "6: lag 1, slices", "4: lag 1, slices", "4: lag 1, slices, table", affine=2, **OUTSIDE)
def trained_with_a_detached_state(x: Tensor):
    h, states = torch.zeros_like(x[0]), []
    for t in range(T):
        h = torch.tanh(h.detach() * 0.5 + x[t] * h)
        states.append(h)
    return torch.stack(states)


@row(SEQUENCE, "6: lag 1, slices", "5: slices", "5: lag 1, slices", affine=1, **OUTSIDE)
def trained_through_spikes(x: Tensor):
    v, spikes = torch.zeros_like(x[0]), []
    for x_t in x:
        v = v * 0.9 + x_t
        spike = Surrogate.apply(v - 0.5)
        v = v - spike
        spikes.append(spike)
    return torch.stack(spikes), v


@row(
    WEIGHTED,
    "6: invariant, lag 1, slices",
    "5: invariant, slices, stacked",
    "5: invariant, lag 1, slices",
    "5: lag 1, slices, stacked",
    affine=2,
    **OUTSIDE,
)
def trained_with_checkpoints(x: Tensor, w: Tensor):
    def step(h: Tensor, x_t: Tensor) -> Tensor:
        return torch.tanh(h @ w + x_t)

    h: Any = x[0]
    for x_t in x:
        h = checkpoint(step, h, x_t, use_reentrant=False)
    return h


def _inside_and_outside(k: int) -> tuple[Tensor, ...]:
    return torch.linspace(-2, 2, 6, dtype=torch.float64) + 0.01 * numbers(k, 6), numbers(k + 9).abs()


@row(
    _inside_and_outside,
    "6: invariant, lag 1",
    "6: slices",
    "6: lag 1, slices",
    "12: slices",
    "5: invariant, slices",
    "5: invariant, lag 1, slices",
    "5: lag 1, slices",
    guards=24,
    affine=3,
    **OUTSIDE,
)
def trained_with_masks_that_both_passes_read(x: Tensor, w: Tensor):
    total = torch.zeros((), dtype=x.dtype)
    for _ in range(T):
        y, slopes, inside = torch.zeros_like(x), torch.zeros_like(x), x.abs() < 1
        y[inside] = torch.sin(x[inside]) * w
        slopes[inside] = torch.cos(x[inside])
        x = x + 0.001 * y
        total = total + slopes.sum()
    return total, x


@row(SEQUENCE, "6: stacked", "6: lag 1, slices", "5: lag 1, slices", draws=T, affine=1, **OUTSIDE)
def trained_with_dropout(x: Tensor):
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(F.dropout(h, 0.3) + x_t)
    return h


class Stacked(CellLoop):
    """The states of all steps alone."""

    def forward(self, x: Tensor):
        return super().forward(x)[0]


trained_cell = row(
    SEQUENCE,
    "6: invariant, slices",
    "6: invariant, lag 1, slices",
    "4: invariant, lag 1, slices",
    "4: invariant, slices",
    "4: lag 1, slices",
    affine=2,
    **OUTSIDE,
)
CELLS = [trained_cell(cell_loop(kind, Stacked, "trained")) for kind in (nn.GRUCell, nn.LSTMCell)]


@row(
    SEQUENCE,
    "6: invariant, lag 1, slices",
    "4: invariant, lag 1, slices",
    "4: lag 1, slices",
    affine=2,
    **OUTSIDE,
)
class TrainedFusedLSTM(Double):
    def prepare(self) -> None:
        self.rnn = nn.LSTM(N, N)

    def forward(self, x: Tensor):
        return self.rnn(x)[0]


@row(tensors((B, T, N), dtype=torch.float32), trips=(5, 5, 6, 4), **OUTSIDE | {"tolerance": 1e-6})
class TrainedLayerStepByStep(nn.Module):
    """In float32 this layer is one operator, of oneDNN."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.rnn = nn.LSTM(N, N, batch_first=True)

    def forward(self, x: Tensor):
        state, outputs = None, []
        for t in range(T):
            output, state = self.rnn(torch.tanh(x[:, t : t + 1]), state)
            outputs.append(output)
        return torch.cat(outputs, 1)


@row(VECTOR, "6: lag 1, stacked", "6: lag 1, slices", "6: slices", affine=1, **OUTSIDE)
class TrainedLayers(Double):
    def prepare(self) -> None:
        self.layers = nn.ModuleList(nn.Linear(N, N) for _ in range(T))

    def forward(self, x: Tensor):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


@row(
    SEQUENCE,
    "6: invariant, lag 1, slices",
    "6: lag 1",
    "4: invariant, lag 1, slices",
    "4: lag 1, slices",
    mutations=3,
    affine=2,
    **OUTSIDE,
)
class TrainedWithRunningStatistics(Normalized):
    pass


@row(
    SEQUENCE,
    "6: invariant, lag 1, slices",
    "4: invariant, lag 1, slices",
    "4: lag 1, slices",
    stores=1,
    calls=(1, 2, 3),
    recordings=2,
    affine=2,
    **OUTSIDE,
)
class TrainedInPieces(Double):
    """Truncated backpropagation through time: the state of the last call is kept, detached."""

    def prepare(self) -> None:
        self.read = nn.Linear(N, N)
        self.h: Any = None

    def forward(self, x: Tensor):
        h = torch.zeros(B, N, dtype=x.dtype) if self.h is None else self.h
        for x_t in x:
            h = torch.tanh(self.read(h) + x_t)
        self.h = h.detach()
        return h


ROWS = rows_of(globals())
