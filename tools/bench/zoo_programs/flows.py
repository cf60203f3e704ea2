"""Flows and inverses of functions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.member import Factory, Member

B, D = 16, 48


class Masked(nn.Linear):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float())

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.mask * self.weight, self.bias)


class Made(nn.Module):
    """Shift and log scale of each entry, of those before it."""

    def __init__(self, size: int, hidden: int = 96) -> None:
        super().__init__()
        inner, unit = torch.arange(size), torch.arange(hidden) % (size - 1)
        self.net = nn.Sequential(
            Masked(unit[:, None] >= inner), nn.ReLU(), Masked(unit[:, None] >= unit), nn.ReLU(),
            Masked((inner[:, None] > unit).repeat(2, 1)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.net(x).chunk(2, 1)
        return shift, torch.tanh(log_scale)


class Maf(nn.Module):
    """Four layers, order reversed between them; sampling goes column by column."""

    def __init__(self, size: int = D) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Made(size) for _ in range(4))

    def forward(self, z: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            z = z.flip(1)
            x = torch.zeros_like(z)
            for i in range(z.shape[1]):
                shift, log_scale = layer(x)
                x[:, i] = z[:, i] * torch.exp(log_scale[:, i]) + shift[:, i]
            z = x
        return z


class ColumnLists(nn.Module):
    """The inverse of an IAF with columns in a list, padded at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Made(D)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, total = torch.zeros_like(x), x.new_zeros(len(x))
        for k in range(D):
            shift, log_scale = self.made(z)
            column = (x[:, k : k + 1] - shift[:, k : k + 1]) * torch.exp(-log_scale[:, k : k + 1])
            z = torch.cat([z[:, :k], column, z[:, k + 1 :]], 1)
            total = total - log_scale[:, k]
        return z, total


class Coupling(nn.Module):
    def __init__(self, layers: int = 24) -> None:
        super().__init__()
        half = D // 2
        nets = (nn.Sequential(nn.Linear(half, 64), nn.Tanh(), nn.Linear(64, 2 * half)) for _ in range(layers))
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for net in self.nets:
            a, b = x.chunk(2, 1)
            s, t = net(a).chunk(2, 1)
            b = b * torch.exp(torch.tanh(s)) + t
            total = total + torch.tanh(s).sum(1)
            x = torch.cat([b, a], 1)
        return x, total


class Planar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.u, self.w = nn.Parameter(torch.randn(64, D) * 0.1), nn.Parameter(torch.randn(64, D) * 0.1)
        self.b = nn.Parameter(torch.zeros(64))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for u, w, b in zip(self.u, self.w, self.b, strict=True):
            inner = torch.tanh(z @ w + b)
            total = total + torch.log(torch.abs(1 + (1 - inner**2) * (u @ w)))
            z = z + u * inner[:, None]
        return z, total


class InverseResidual(nn.Module):
    """x + g(x) = y solved by iteration in each of four blocks."""

    def __init__(self) -> None:
        super().__init__()
        nets = [nn.Sequential(nn.Linear(D, D), nn.ELU(), nn.Linear(D, D)) for _ in range(4)]
        for net in nets:
            for layer in (net[0], net[2]):
                layer.weight.data *= 0.6 / torch.linalg.matrix_norm(layer.weight.data, 2)
        self.nets = nn.ModuleList(nets)

    def forward(self, y: Tensor) -> Tensor:
        for net in reversed(self.nets):
            x = y
            for _ in range(60):
                x = y - net(x)
            y = x
        return y


def bisection(y: Tensor) -> Tensor:
    """The inverse of x + sin(x) / 2 + x^3."""
    low, high = torch.full_like(y, -10.0), torch.full_like(y, 10.0)
    for _ in range(60):
        middle = (low + high) / 2
        over = middle + torch.sin(middle) / 2 + middle**3 > y
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return (low + high) / 2


def newton_root(y: Tensor) -> Tensor:
    """The inverse of x exp(x), until nothing moves."""
    w = torch.log1p(y)
    for _ in range(100):
        e = torch.exp(w)
        step = (w * e - y) / (e * (w + 1))
        w = w - step
        if step.abs().max() < 1e-6:
            break
    return w


PROGRAMS: dict[str, Factory] = {
    "MAF, sampling": lambda: Member(Maf(), (torch.randn(B, D),)),
    "IAF, inverse by cat": lambda: Member(ColumnLists(), (torch.randn(B, D),)),
    "coupling flow": lambda: Member(Coupling(), (torch.randn(B, D),)),
    "coupling flow, training": lambda: Member(Coupling(), (torch.randn(B, D),), True),
    "planar flow": lambda: Member(Planar(), (torch.randn(B, D),)),
    "planar flow, training": lambda: Member(Planar(), (torch.randn(B, D),), True),
    "residual flow, inverse": lambda: Member(InverseResidual(), (torch.randn(B, D),)),
    "bisection": lambda: Member(bisection, (torch.randn(256) * 5,)),
    "Newton's method until it stops": lambda: Member(newton_root, (torch.rand(256) * 9 + 0.1,)),
}
