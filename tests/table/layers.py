"""Rows: nested loops, many layers, state on modules, operators for loops, and the recurrent layers of torch."""

from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops import scan, while_loop
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.table.row import SEQUENCE, VECTOR, WEIGHTED, B, Double, N, T, numbers, row, rows_of, tensors

LAYERS = 4
STEP = "6: invariant, lag 1, slices"


@row(SEQUENCE, trips=(5,))
class RowsTimesColumns(Double):
    """A recurrence along rows and along columns of an image (T, B, N), as in a PixelRNN."""

    def forward(self, x: Tensor):
        y = [[x.new_zeros(B) for _ in range(N)] for _ in range(T)]
        for i in range(T):
            for j in range(N):
                left, above = y[i][j - 1] if j else x[i, :, 0], y[i - 1][j] if i else x[0, :, j]
                y[i][j] = torch.tanh(0.5 * left + 0.3 * above + x[i, :, j])
        return torch.stack([torch.stack(line) for line in y])


@row(SEQUENCE, trips=(4,))
class LayersTimesTime(Double):
    def prepare(self) -> None:
        self.cells = nn.ModuleList(nn.Linear(2 * N, N) for _ in range(LAYERS))

    def forward(self, x: Tensor):
        for cell in self.cells:
            h, states = x.new_zeros(B, N), []
            for x_t in x:
                h = torch.tanh(cell(torch.cat([h, x_t], -1)))
                states.append(h)
            x = torch.stack(states)
        return x


@row(SEQUENCE, trips=(6,))
class TimeTimesLayers(Double):
    def prepare(self) -> None:
        self.cells = nn.ModuleList(nn.Linear(2 * N, N) for _ in range(LAYERS))

    def forward(self, x: Tensor):
        h, states = [x.new_zeros(B, N) for _ in self.cells], []
        for x_t in x:
            for k, cell in enumerate(self.cells):
                x_t = h[k] = torch.tanh(cell(torch.cat([h[k], x_t], -1)))
            states.append(x_t)
        return torch.stack(states)


@row(SEQUENCE, trips=(6,))
class InnerUnfold(Double):
    """At every time a few explicit Euler steps, as in a liquid time-constant network."""

    def prepare(self) -> None:
        self.cell = nn.Linear(N, N)

    def forward(self, x: Tensor):
        v, states = x.new_zeros(B, N), []
        for x_t in x:
            drive = torch.sigmoid(self.cell(x_t))
            for _ in range(LAYERS):
                v = v + 0.1 * (drive - v * torch.tanh(v))
            states.append(v)
        return torch.stack(states)


@row(VECTOR, "64: lag 1, stacked")
class ManyLayers(Double):
    def prepare(self) -> None:
        self.layers = nn.ModuleList(nn.Linear(N, N) for _ in range(64))

    def forward(self, x: Tensor):
        for layer in self.layers:
            x = x + 0.1 * torch.relu(layer(x))
        return x


@row(VECTOR, ran="original", reason="no loop was found")
class LayersThatDiffer(Double):
    def prepare(self) -> None:
        self.layers = nn.Sequential(nn.Linear(N, 4), nn.Tanh(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, N))

    def forward(self, x: Tensor):
        return self.layers(x)


# Outside of a recording torch takes a fused way through attention, which rounds differently.
@row(tensors((B, T, 4)), "6: invariant, lag 1", tolerance=1e-12)
class AttentionInEvaluation(Double):
    def prepare(self) -> None:
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.eval()

    def forward(self, x: Tensor):
        for _ in range(T):
            x = x + self.attend(x, x, x)[0]
        return x


# State on modules.


@row(SEQUENCE, "5: lag 1, slices", calls=(1, 2, 3), stores=1)
class StateKeptOnAModule(Double):
    """A spiking layer that keeps its membrane potential: the inner module is called once per step."""

    class Neuron(nn.Module):
        v: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            v = x if self.v is None else self.v * 0.9 + x
            spike = (v > 0.5).to(x.dtype)
            self.v = v - spike
            return spike

    def prepare(self) -> None:
        self.neuron = self.Neuron()

    def forward(self, x: Tensor):
        self.neuron.v = None
        return torch.stack([self.neuron(x_t) for x_t in x])


@row(SEQUENCE, "6: lag 1, slices", calls=(1, 2, 3), stores=1, recordings=2)
class StateKeptBetweenCalls(Double):
    def prepare(self) -> None:
        self.h: Any = None

    def forward(self, x: Tensor):
        h = x.new_zeros(B, N) if self.h is None else self.h
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        self.h = h
        return h * 2


@row(SEQUENCE, "6: lag 1, slices", mutations=1)
class StateKeptInABuffer(Double):
    h: Tensor

    def prepare(self) -> None:
        self.register_buffer("h", torch.zeros(B, N))

    def forward(self, x: Tensor):
        for x_t in x:
            self.h.copy_(torch.tanh(self.h * 0.5 + x_t))
        return self.h * 2


# Operators.


@row(WEIGHTED, "6: invariant, lag 1, slices", "6: slices")
def operator_scan(x: Tensor, w: Tensor):
    def combine(h: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(h @ w + x_t)
        return h, h * 2

    return scan(combine, x.new_zeros(B, N), x)


@row(WEIGHTED, "6: invariant, lag 1", "6: slices", guards=7)
def operator_while_loop(x: Tensor, w: Tensor):
    def body(i: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return i + 1, torch.tanh(h @ w + i)

    return while_loop(lambda i, h: i < T, body, (torch.tensor(0), x[0]))


@row(lambda k: (numbers(k, T, B, N).abs() * (-1) ** k,), "6: lag 1, slices", guards=1, calls=(1, 2, 4), recordings=2)
def operator_cond(x: Tensor):
    h = torch.cond(x.sum() > 0, lambda x: x.sin()[0], lambda x: x.cos()[0], (x,))
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
    return h


# Cells and fused layers of torch.


class CellLoop(Double):
    """A cell of torch in a loop over time: all states, and the last one."""

    kind: type[nn.Module]

    def prepare(self) -> None:
        self.cell = self.kind(N, N)

    def forward(self, x: Tensor) -> Any:
        state, states = None, []
        for x_t in x:
            state = self.cell(x_t, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states), state


def cell_loop(kind: type[nn.Module], base: type[CellLoop] = CellLoop, name: str = "cell") -> type[CellLoop]:
    """The class of the loops of one kind of cell."""
    return type(f"{name}_{kind.__name__}", (base,), {"kind": kind})


CELLS = [row(SEQUENCE, "6: invariant, slices", STEP)(cell_loop(kind)) for kind in (nn.RNNCell, nn.GRUCell, nn.LSTMCell)]


def _fused(kind: Any, **options: Any) -> type[Double]:
    class Fused(Double):
        def prepare(self) -> None:
            self.rnn = kind(N, N, **options)

        def forward(self, x: Tensor):
            return self.rnn(x)

    Fused.__name__ = "_".join(["fused", kind.__name__, *options])
    return Fused


FUSED = [
    row(SEQUENCE, *loops)(_fused(kind, **options))
    for kind in (nn.RNN, nn.GRU, nn.LSTM)
    for loops, options in (([STEP], {}), ([STEP] * 2, {"num_layers": 2}), ([STEP] * 2, {"bidirectional": True}))
]


@row(tensors((B, T, N)), "4: invariant, lag 1, table", guards=2)
class PackedInput(Double):
    def prepare(self) -> None:
        self.rnn = nn.GRU(N, N, batch_first=True)

    def forward(self, x: Tensor):
        packed = pack_padded_sequence(x, torch.tensor([T, T - 2]), batch_first=True)
        outputs, last = self.rnn(packed)
        return pad_packed_sequence(outputs, batch_first=True)[0], last


ROWS = rows_of(globals())
