"""Recurrent cells, written out or of torch.nn, over time."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.member import Factory, Member

B, T, N, H = 8, 128, 16, 32


class Over(nn.Module):
    """A cell step(x_t, state) -> state over (T, B, N), from zeros; the first part of every state is the output."""

    def __init__(self, cell: nn.Module, parts: int = 1, size: tuple[int, ...] = (H,)) -> None:
        super().__init__()
        self.cell, self.parts, self.size = cell, parts, size

    def forward(self, xs: Tensor) -> Tensor:
        state = tuple(xs.new_zeros(xs.shape[1], *self.size) for _ in range(self.parts))
        outputs = []
        for x in xs:
            state = self.cell(x, *state)
            outputs.append(state[0])
        return torch.stack(outputs)


class SplitGru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(N, 3 * H), nn.Linear(H, 3 * H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        a, b = self.x(x).chunk(3, -1), self.h(h).chunk(3, -1)
        r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
        return ((1 - z) * torch.tanh(a[2] + r * b[2]) + z * h,)


class JoinedLstm(nn.Module):
    """All gates of one product with what is joined."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(N + H, 4 * H)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Peephole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(N, 4 * H), nn.Linear(H, 4 * H, bias=False)
        self.peep = nn.Parameter(torch.randn(3, H) * 0.1)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = (self.x(x) + self.h(h)).chunk(4, 1)
        i, f = torch.sigmoid(i + self.peep[0] * c), torch.sigmoid(f + self.peep[1] * c)
        c = f * c + i * torch.tanh(g)
        return torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c), c


class Mgu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forget, self.new = nn.Linear(N + H, H), nn.Linear(N + H, H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        f = torch.sigmoid(self.forget(torch.cat((x, h), 1)))
        return ((1 - f) * h + f * torch.tanh(self.new(torch.cat((x, f * h), 1))),)


class Sru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.v = nn.Linear(N, 4 * H), nn.Parameter(torch.randn(2, H) * 0.3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        u, f, r, skip = self.x(x).chunk(4, 1)
        f = torch.sigmoid(f + self.v[0] * c)
        r = torch.sigmoid(r + self.v[1] * c)
        c = f * c + (1 - f) * u
        return r * torch.tanh(c) + (1 - r) * skip, c


class MinGru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Linear(N, 2 * H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        z, new = self.x(x).chunk(2, 1)
        return (torch.lerp(h, new, torch.sigmoid(z)),)


class IndRnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.u = nn.Linear(N, H), nn.Parameter(torch.rand(H))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return (torch.relu(self.x(x) + self.u * h),)


class NormLstm(nn.Module):
    """Layer norms of both products and of the cell."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(N, 4 * H, bias=False), nn.Linear(H, 4 * H, bias=False)
        self.norms = nn.ModuleList([nn.LayerNorm(4 * H), nn.LayerNorm(4 * H), nn.LayerNorm(H)])

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = (self.norms[0](self.x(x)) + self.norms[1](self.h(h))).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norms[2](c)), c


class SLstm(nn.Module):
    """The scalar memory of xLSTM, with a stabilizer."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(N, 4 * H), nn.Linear(H, 4 * H, bias=False)

    def forward(self, x: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> tuple[Tensor, ...]:
        z, i, f, o = (self.x(x) + self.h(h)).chunk(4, 1)
        f = F.logsigmoid(f)
        new = torch.maximum(f + m, i)
        i, f = torch.exp(i - new), torch.exp(f + m - new)
        c, n = f * c + i * torch.tanh(z), f * n + i
        return torch.sigmoid(o) * c / n.clamp(min=1e-6), c, n, new


class ConvLstm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(1 + channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, o, g = torch.split(self.gates(torch.cat([x, h], dim=1)), h.shape[1], dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class OfTorch(nn.Module):
    """A cell of torch.nn, with states as it takes them."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor, *cell: Tensor) -> tuple[Tensor, ...]:
        found: Any = self.cell(x, (h, *cell) if cell else h)
        return found if isinstance(found, tuple) else (found,)


class Both(nn.Module):
    """Two GRUs, one from each end, batch first, states written into a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.GRUCell(N, H), nn.GRUCell(N, H)

    def forward(self, x: Tensor) -> Tensor:
        states = x.new_zeros(x.shape[0], x.shape[1], 2 * H)
        a = b = x.new_zeros(x.shape[0], H)
        for t in range(x.shape[1]):
            a = self.left(x[:, t], a)
            states[:, t, :H] = a
        for t in reversed(range(x.shape[1])):
            b = self.right(x[:, t], b)
            states[:, t, H:] = b
        return states


class Stacked(nn.Module):
    """Three layers of LSTM cells, all of them at each time."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(N if k == 0 else H, H) for k in range(3))
        self.head = nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        states = [(x.new_zeros(x.shape[0], H), x.new_zeros(x.shape[0], H)) for _ in self.cells]
        outputs = []
        for t in range(x.size(1)):
            y = x[:, t, :]
            for k, cell in enumerate(self.cells):
                states[k] = cell(y, states[k])
                y = states[k][0]
            outputs.append(self.head(y))
        return torch.cat(outputs, dim=1)


class Clockwork(nn.Module):
    """Four groups of units; group k moves at every 2**k-th step."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(N, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], H)
        for t in range(x.shape[0]):
            new = torch.tanh(self.x(x[t]) + self.h(h))
            moving = sum(1 for k in range(4) if t % 2**k == 0) * (H // 4)
            h = torch.cat([new[:, :moving], h[:, moving:]], 1)
        return h


class Attentive(nn.Module):
    """A decoder that looks at all of the source in every step and reads its own last word."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell = nn.Embedding(40, N), nn.GRUCell(N + H, H)
        self.score, self.head = nn.Linear(H, H), nn.Linear(H, 40)

    def forward(self, source: Tensor) -> Tensor:
        h = source.mean(1)
        word = torch.zeros(source.shape[0], dtype=torch.long)
        said = []
        for _ in range(64):
            weights = torch.softmax(torch.bmm(source, self.score(h).unsqueeze(2)).squeeze(2), 1)
            context = torch.bmm(weights.unsqueeze(1), source).squeeze(1)
            h = self.cell(torch.cat([self.words(word), context], -1), h)
            word = self.head(h).argmax(-1)
            said.append(word)
        return torch.stack(said, 1)


class Zoneout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(N, H)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], H)
        for x_t in x:
            kept = torch.bernoulli(torch.full_like(h, 0.1))
            h = kept * h + (1 - kept) * self.cell(x_t, h)
        return h


class Masked(nn.Module):
    """Sequences of different lengths: a state stays where its sequence has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(N, H), nn.Linear(H, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h, c = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), H)
        for t in range(x.size(1)):
            new_h, new_c = self.cell(x[:, t], (h, c))
            inside = (t < lengths).float().unsqueeze(1)
            h, c = inside * new_h + (1 - inside) * h, inside * new_c + (1 - inside) * c
        return self.head(h)


def _over(cell: Callable[[], nn.Module], parts: int, trains: bool = False) -> Factory:
    return lambda: Member(Over(cell(), parts), (torch.randn(T, B, N),), trains)


PROGRAMS: dict[str, Factory] = {
    "GRU": _over(SplitGru, 1),
    "GRU, training": _over(SplitGru, 1, True),
    "GRU, B=1, T=1024": lambda: Member(Over(SplitGru()), (torch.randn(1024, 1, N),)),
    "LSTM of one product": _over(JoinedLstm, 2),
    "LSTM of one product, training": _over(JoinedLstm, 2, True),
    "peephole LSTM": _over(Peephole, 2),
    "peephole LSTM, training": _over(Peephole, 2, True),
    "MGU": _over(Mgu, 1),
    "MGU, training": _over(Mgu, 1, True),
    "SRU": _over(Sru, 2),
    "minGRU": _over(MinGru, 1),
    "minGRU, training": _over(MinGru, 1, True),
    "IndRNN": _over(IndRnn, 1),
    "LSTM with layer norms": _over(NormLstm, 2),
    "sLSTM": _over(SLstm, 4),
    "sLSTM, training": _over(SLstm, 4, True),
    "ConvLSTM": lambda: Member(Over(ConvLstm(6), 2, (6, 8, 8)), (torch.randn(48, 4, 1, 8, 8),)),
    "nn.RNNCell": _over(lambda: OfTorch(nn.RNNCell(N, H)), 1),
    "nn.GRUCell": _over(lambda: OfTorch(nn.GRUCell(N, H)), 1),
    "nn.LSTMCell": _over(lambda: OfTorch(nn.LSTMCell(N, H)), 2),
    "nn.LSTMCell, training": _over(lambda: OfTorch(nn.LSTMCell(N, H)), 2, True),
    "GRUs of both directions": lambda: Member(Both(), (torch.randn(B, T, N),)),
    "three layers of LSTM cells": lambda: Member(Stacked(), (torch.randn(B, 64, N),)),
    "clockwork RNN": lambda: Member(Clockwork(), (torch.randn(T, B, N),)),
    "decoder with attention": lambda: Member(Attentive(), (torch.randn(B, 20, H),)),
    "GRU with zoneout": lambda: Member(Zoneout(), (torch.randn(T, B, N),)),
    "LSTM with lengths": lambda: Member(Masked(), (torch.randn(B, T, N), torch.randint(40, T, (B,)))),
    "nn.LSTM": lambda: Member(nn.LSTM(N, H), (torch.randn(T, B, N),), sequential=False),
}
