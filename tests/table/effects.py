"""Rows: what programs leave behind in their arguments and modules."""

import torch
from torch import Tensor, nn

from tests.table.row import SEQUENCE, VECTOR, B, Double, N, T, row, rows_of, tensors


@row(VECTOR, "6: lag 1", mutations=1, affine=1)
def input_written_in_place(x: Tensor):
    for _ in range(T):
        x.mul_(0.5).add_(1)
    return x.sum()


@row(tensors((T, B, N), (T, B, N)), "6: lag 1, slices", mutations=1)
def buffer_of_the_caller_filled(x: Tensor, out: Tensor):
    h = torch.zeros_like(x[0])
    for t in range(T):
        h = torch.tanh(h * 0.5 + x[t])
        out[t] = h


@row(SEQUENCE, "5: lag 1, slices", mutations=1)
def columns_of_an_input_written(x: Tensor):
    for t in range(1, T):
        x[t] = torch.tanh(x[t - 1] + x[t])
    return x * 2


@row(tensors((T, B, N), (B, N)), "6: lag 1, slices", mutations=1)
def views_of_an_input_beside_a_write(x: Tensor, last: Tensor):
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
    last.copy_(h)
    return x.detach(), x[1].detach(), x, x.expand(T, B, N), x.detach()[0]


class Normalized(Double):
    """Batch normalization in a loop."""

    def prepare(self) -> None:
        self.norm, self.read = nn.BatchNorm1d(N), nn.Linear(N, N)

    def forward(self, x: Tensor):
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(self.norm(self.read(h) + x_t))
        return h


running_statistics = row(SEQUENCE, "6: invariant, lag 1, slices", "6: lag 1", mutations=3)(Normalized)


@row(SEQUENCE, "6: invariant, lag 1, slices")
class StatisticsInEvaluation(Normalized):
    def __init__(self) -> None:
        super().__init__()
        self.eval()


@row(SEQUENCE, "6: invariant, lag 1, slices, table", "6: slices", guards=6, mutations=3, recordings=2, ran="recorded")
class AverageOfAllBatches(Normalized):
    def prepare(self) -> None:
        super().prepare()
        self.norm.momentum = None


@row(SEQUENCE, "6: lag 1, slices", "6: lag 1", mutations=2)
class BufferUpdated(Double):
    average: Tensor
    steps: Tensor

    def prepare(self) -> None:
        self.register_buffer("average", torch.zeros(B, N))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor):
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
            self.average.mul_(0.9).add_(h, alpha=0.1)
            self.steps += 1
        return h


@row(SEQUENCE, "6: lag 1, slices", stores=1)
class BufferRebound(Double):
    def prepare(self) -> None:
        self.register_buffer("average", torch.zeros(B, N))

    def forward(self, x: Tensor):
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
            self.average = self.average * 0.9 + h * 0.1
        return h


@row(SEQUENCE, "6: lag 1, slices", stores=1)
class TensorsInAList(Double):
    def prepare(self) -> None:
        self.cache = [torch.zeros(B, N), torch.zeros(B, N)]

    def forward(self, x: Tensor):
        h = self.cache[0]
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        self.cache[0], self.cache[1] = h, self.cache[0]
        return h


@row(SEQUENCE, "6: lag 1, slices", calls=(1, 2, 3), stores=1, recordings=2)
class FlagSetOnce(Double):
    def prepare(self) -> None:
        self.is_started = False

    def forward(self, x: Tensor):
        self.is_started = True
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        return h


@row(SEQUENCE, "6: lag 1, slices", stores=1, note="adds 1 to CallsCounted.calls after each run")
class CallsCounted(Double):
    def prepare(self) -> None:
        self.calls = 0

    def forward(self, x: Tensor):
        self.calls += 1
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        return h


@row(SEQUENCE, recordings=0, ran="original", reason="CallsRead.calls is read at")
class CallsRead(Double):
    def prepare(self) -> None:
        self.calls = 0

    def forward(self, x: Tensor):
        self.calls += 1
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        return h * self.calls


@row(
    SEQUENCE,
    "6: lag 1, slices",
    stores=1,
    recordings=1,
    ran="original",
    reason="the program changes ResultsRemembered.seen",
)
class ResultsRemembered(Double):
    def prepare(self) -> None:
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor):
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        self.seen.append(h)
        return h


ROWS = rows_of(globals())
