"""Samplers whose steps fall into few levels: those of one level do not read one another."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.samplers import B, Masked, Sampler

SIZE, HIDDEN = 24, 5


class Made(nn.Module):
    """Two layers of few units, whose degrees leave most entries without one of their own; entries in any order."""

    def __init__(self, order: Tensor, outputs: int = 1, label: int = 0) -> None:
        super().__init__()
        size, draw = len(order), torch.Generator().manual_seed(1)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(size)
        first, second = (torch.randint(0, size - 1, (HIDDEN,), generator=draw) for _ in range(2))
        self.first = Masked(first[:, None] >= rank)
        self.label = nn.Linear(label, HIDDEN) if label else None
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.second = Masked(second[:, None] >= first)
        self.last = Masked((rank[:, None] > second).repeat(outputs, 1))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.label is not None and label is not None:
            h = h + self.label(label)
        return self.last(F.relu(self.second(F.elu(self.norm(h)))))


def made(order: Tensor) -> Sampler:
    """A logistic for each entry, drawn on the way."""
    net = Made(order, outputs=2).eval()

    def sample() -> Tensor:
        x = torch.zeros(B, len(order))
        for i in order.tolist():
            means, scales = net(x).chunk(2, 1)
            noise = torch.rand(B).clamp(1e-5, 1 - 1e-5)
            x[:, i] = means[:, i] + scales[:, i].exp() * (noise.log() - torch.log1p(-noise))
        return x

    return sample, ()


def conditional() -> Sampler:
    net = Made(torch.arange(SIZE), label=3).eval()

    def sample(noise: Tensor, label: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(SIZE):
            x[:, i] = torch.tanh(net(x, label)[:, i] + noise[:, i])
        return x

    return sample, (torch.randn(B, SIZE), torch.randn(B, 3))


def bits() -> Sampler:
    """Discrete draws, of each entry a row of probabilities."""
    net = Made(torch.arange(SIZE), outputs=2).eval()

    def sample() -> Tensor:
        x = torch.zeros(B, SIZE)
        for i in range(SIZE):
            scores = torch.stack(net(x).chunk(2, 1), 2)[:, i]
            x[:, i] = torch.multinomial(scores.softmax(-1), 1)[:, 0].float()
        return x

    return sample, ()


def flow(layers: int = 2) -> Sampler:
    """Layers one behind the other, each a loop of its own, in turned orders."""
    orders = [torch.arange(SIZE) if k % 2 else torch.arange(SIZE).flip(0) for k in range(layers)]
    nets = [Made(order, outputs=2).eval() for order in orders]

    def sample(z: Tensor) -> Tensor:
        for net, order in zip(nets, orders, strict=True):
            x = torch.zeros_like(z)
            for i in order.tolist():
                mean, scale = net(x).chunk(2, 1)
                x[:, i] = z[:, i] * torch.exp(0.1 * scale[:, i]) + mean[:, i]
            z = x
        return z

    return sample, (torch.randn(B, SIZE),)


def far_back(distance: int = 4, length: int = 20) -> Sampler:
    """Each entry of a line sees those that are four or more in front of it."""
    net = nn.Sequential(nn.Conv1d(1, 3, 3), nn.Tanh(), nn.Conv1d(3, 1, 1)).eval()

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros(B, 1, length)
        for t in range(length):
            x[:, :, t] = net(F.pad(x, (distance + 2, 0)))[:, :, t] + noise[:, :, t]
        return x

    return sample, (torch.randn(B, 1, length),)


def rows(side: int = 5) -> Sampler:
    """Each pixel of a picture sees the rows above its own."""
    net = nn.Sequential(nn.Conv2d(1, 3, (2, 3)), nn.Tanh(), nn.Conv2d(3, 1, 1)).eval()

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros(B, 1, side, side)
        for i in range(side):
            for j in range(side):
                x[:, :, i, j] = torch.tanh(net(F.pad(x, (1, 1, 2, 0)))[:, :, i, j] + noise[:, :, i, j])
        return x

    return sample, (torch.randn(B, 1, side, side),)


# With how many levels their loops have.
LEVELED: dict[str, tuple[Callable[[], Sampler], tuple[int, ...]]] = {
    "made": (partial(made, torch.arange(SIZE)), (5,)),
    "made, any order": (partial(made, torch.randperm(SIZE, generator=torch.Generator().manual_seed(2))), (5,)),
    "made of a label": (conditional, (5,)),
    "made of bits": (bits, (5,)),
    "flow": (flow, (5, 5)),
    "line, far back": (far_back, (5,)),
    "rows": (rows, (5,)),
}
