"""Equations of motion, diffusion and flow matching, step by step."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.member import Factory, Member

B, D = 16, 8


class Field(nn.Module):
    def __init__(self, size: int = D, hidden: int = 32) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size + 1, hidden), nn.Tanh(), nn.Linear(hidden, size))

    def at(self, t: float | Tensor, x: Tensor) -> Tensor:
        return self.net(torch.cat([x, torch.ones_like(x[:, :1]) * t], 1))


class Euler(Field):
    def forward(self, x: Tensor) -> Tensor:
        path = [x]
        for k in range(100):
            x = x + 0.01 * self.at(0.01 * k, x)
            path.append(x)
        return torch.stack(path)


class Rk4(Field):
    def forward(self, x: Tensor) -> Tensor:
        h = 1 / 40
        for k in range(40):
            t = k * h
            k1 = self.at(t, x)
            k2 = self.at(t + h / 2, x + h / 2 * k1)
            k3 = self.at(t + h / 2, x + h / 2 * k2)
            k4 = self.at(t + h, x + h * k3)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return x


class Adaptive(Field):
    """Steps of orders 2 and 3 whose size follows the error, as scalars of Python."""

    def forward(self, x: Tensor) -> Tensor:
        t, h = 0.0, 0.05
        while t < 1.0:
            h = min(h, 1.0 - t)
            k1 = self.at(t, x)
            k2 = self.at(t + h / 2, x + h / 2 * k1)
            k3 = self.at(t + 3 * h / 4, x + 3 * h / 4 * k2)
            new = x + h * (2 * k1 + 3 * k2 + 4 * k3) / 9
            k4 = self.at(t + h, new)
            error = (h * (-5 * k1 / 72 + k2 / 12 + k3 / 9 - k4 / 8)).abs().max().item()
            if error < 1e-5:
                t, x = t + h, new
            h *= min(2.0, max(0.3, 0.9 * (1e-5 / (error + 1e-12)) ** (1 / 3)))
        return x


def springs(q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """A chain of springs with a cubic term, by leapfrog."""

    def force(q: Tensor) -> Tensor:
        stretched = F.pad(q, (1, 1)).diff(dim=1)
        pull = stretched + 0.2 * stretched**3
        return pull[:, 1:] - pull[:, :-1]

    for _ in range(100):
        p = p + 0.025 * force(q)
        q = q + 0.05 * p
        p = p + 0.025 * force(q)
    return q, p


def lorenz(x: Tensor) -> Tensor:
    path = torch.zeros(200, *x.shape)
    for k in range(200):
        a, b, c = x.unbind(-1)
        x = x + 0.01 * torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)
        path[k] = x
    return path


def planets(position: Tensor, velocity: Tensor, mass: Tensor) -> Tensor:
    def acceleration(position: Tensor) -> Tensor:
        apart = position[None, :, :] - position[:, None, :]
        distance = (apart.square().sum(-1) + 0.05).sqrt()
        return (apart * (mass[None, :] / distance**3)[..., None]).sum(1)

    a = acceleration(position)
    for _ in range(80):
        velocity = velocity + 0.005 * a
        position = position + 0.01 * velocity
        a = acceleration(position)
        velocity = velocity + 0.005 * a
    return position


def heat(u: Tensor) -> Tensor:
    for _ in range(200):
        u[:, 1:-1] = u[:, 1:-1] + 0.2 * (u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2])
    return u.clone()


def waves(u: Tensor) -> Tensor:
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    before = u
    for _ in range(100):
        u, before = 2 * u - before + 0.1 * F.conv2d(u, kernel, padding=1), u
    return u


def life(cells: Tensor) -> Tensor:
    kernel = torch.ones(1, 1, 3, 3)
    for _ in range(64):
        around = F.conv2d(F.pad(cells, (1, 1, 1, 1), mode="circular"), kernel) - cells
        cells = ((around == 3) | ((around == 2) & (cells == 1))).float()
    return cells


class Automaton(nn.Module):
    """A neural cellular automaton, trained through its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(8, 24, 3, padding=1, groups=8)
        self.rule = nn.Sequential(nn.Conv2d(24, 32, 1), nn.ReLU(), nn.Conv2d(32, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(24):
            x = x + self.rule(self.see(x)) * (torch.rand(x.shape[0], 1, *x.shape[2:]) < 0.5)
        return x


class Ddim(Field):
    """Deterministic steps over a table of noise levels."""

    def forward(self, x: Tensor) -> Tensor:
        level = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
        steps = list(range(0, 1000, 20))
        for now, after in zip(reversed(steps), [*reversed(steps[:-1]), -1], strict=True):
            a, b = level[now], level[after] if after >= 0 else torch.tensor(1.0)
            noise = self.at(now / 1000, x)
            clean = (x - (1 - a).sqrt() * noise) / a.sqrt()
            x = b.sqrt() * clean + (1 - b).sqrt() * noise
        return x


class Ddpm(Field):
    def forward(self, x: Tensor) -> Tensor:
        beta = torch.linspace(1e-4, 0.05, 100)
        alpha = torch.cumprod(1 - beta, 0)
        for t in range(99, -1, -1):
            noise = self.at(t / 100, x)
            x = (x - beta[t] / (1 - alpha[t]).sqrt() * noise) / (1 - beta[t]).sqrt()
            if t > 0:
                x = x + beta[t].sqrt() * torch.randn_like(x)
        return x


class Matching(nn.Module):
    """Flow matching with a time embedding, by Heun's method."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(D + 16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, D))

    def field(self, x: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * torch.exp(torch.arange(8) * -(math.log(1e4) / 8))
        return self.net(torch.cat([x, angle.sin(), angle.cos()], -1))

    def forward(self, x: Tensor) -> Tensor:
        times = torch.linspace(0, 1, 41)
        for now, after in pairwise(times):
            v = self.field(x, now.expand(len(x)))
            w = self.field(x + (after - now) * v, after.expand(len(x)))
            x = x + (after - now) * (v + w) / 2
        return x


def brownian(x: Tensor) -> Tensor:
    """Euler and Maruyama for a geometric Brownian motion with a barrier."""
    alive = torch.ones_like(x, dtype=torch.bool)
    for _ in range(128):
        x = x + 0.03 * x / 128 + 0.2 * x * torch.randn_like(x) / 128**0.5
        alive = alive & (x > 0.8)
    return torch.where(alive, (x - 1).clamp(min=0), torch.zeros_like(x)).mean()


PROGRAMS: dict[str, Factory] = {
    "ODE, Euler": lambda: Member(Euler(), (torch.randn(B, D),)),
    "ODE, Euler, training": lambda: Member(Euler(), (torch.randn(B, D),), True),
    "ODE, RK4": lambda: Member(Rk4(), (torch.randn(B, D),)),
    "ODE, RK4, training": lambda: Member(Rk4(), (torch.randn(B, D),), True),
    "ODE, adaptive": lambda: Member(Adaptive(), (torch.randn(B, D),)),
    "leapfrog": lambda: Member(springs, (torch.randn(B, 32), torch.randn(B, 32))),
    "Lorenz system": lambda: Member(lorenz, (torch.randn(B, 3),)),
    "planets": lambda: Member(planets, (torch.randn(12, 3), torch.randn(12, 3) * 0.1, torch.rand(12))),
    "heat equation in place": lambda: Member(heat, (torch.randn(B, 64),)),
    "wave equation": lambda: Member(waves, (torch.randn(1, 1, 24, 24),)),
    "game of life": lambda: Member(life, (torch.bernoulli(torch.full((1, 1, 24, 24), 0.4)),)),
    "neural cellular automaton": lambda: Member(Automaton(), (torch.randn(2, 8, 12, 12),)),
    "neural cellular automaton, training": lambda: Member(Automaton(), (torch.randn(2, 8, 12, 12),), True),
    "DDIM": lambda: Member(Ddim(), (torch.randn(B, D),)),
    "DDPM": lambda: Member(Ddpm(), (torch.randn(B, D),)),
    "flow matching, Heun": lambda: Member(Matching(), (torch.randn(B, D),)),
    "Brownian motion": lambda: Member(brownian, (torch.ones(256),)),
}
