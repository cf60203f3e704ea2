"""Spiking neurons, with and without surrogate gradients."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo_programs.member import Factory, Member

B, T, N, H = 8, 100, 16, 32


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
        (x,) = ctx.saved_tensors
        return gradient / (10 * x.abs() + 1) ** 2


class Lif(nn.Module):
    """Two layers of leaky neurons, reset by subtraction."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(N, H), nn.Linear(H, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = s = x.new_zeros(x.shape[1], H)
        v = z = x.new_zeros(x.shape[1], 4)
        count, traces = torch.zeros_like(z), []
        for t in range(x.shape[0]):
            u = 0.9 * u + self.inner(x[t]) - s
            s = Spike.apply(u - 1)
            v = 0.9 * v + self.outer(s) - z
            z = Spike.apply(v - 1)
            count = count + z
            traces.append(v)
        return count, torch.stack(traces)


class Adaptive(nn.Module):
    """Recurrent neurons whose threshold rises with their spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.again = nn.Linear(N, H), nn.Linear(H, H, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u = s = a = x.new_zeros(x.shape[1], H)
        spikes = []
        for x_t in x:
            u = torch.where(s > 0, torch.zeros_like(u), 0.9 * u) + self.inner(x_t) + self.again(s)
            a = 0.95 * a + s
            s = Spike.apply(u - 0.5 - 0.1 * a)
            spikes.append(s)
        return torch.stack(spikes)


def izhikevich(current: Tensor) -> Tensor:
    v = torch.full_like(current[0], -65.0)
    u = 0.2 * v
    fired = torch.zeros_like(current)
    for t in range(len(current)):
        v = v + 0.5 * (0.04 * v * v + 5 * v + 140 - u + current[t])
        v = v + 0.5 * (0.04 * v * v + 5 * v + 140 - u + current[t])
        u = u + 0.02 * (0.2 * v - u)
        spike = v >= 30
        fired[t] = spike.float()
        v = torch.where(spike, torch.full_like(v, -65.0), v)
        u = u + 8 * spike
    return fired


PROGRAMS: dict[str, Factory] = {
    "LIF neurons": lambda: Member(Lif(), (torch.randn(T, B, N),)),
    "LIF neurons, training": lambda: Member(Lif(), (torch.randn(T, B, N),), True),
    "adaptive neurons": lambda: Member(Adaptive(), (torch.randn(T, B, N),)),
    "adaptive neurons, training": lambda: Member(Adaptive(), (torch.randn(T, B, N),), True),
    "Izhikevich neurons": lambda: Member(izhikevich, (torch.rand(T, 64) * 15,)),
}
