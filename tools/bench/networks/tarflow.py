"""An affine autoregressive flow of transformers (Zhai et al. 2024, TarFlow), and its inverse, place by place."""

import torch
from torch import Tensor, nn

from gpt_sampling import Layer


class Block(nn.Module):
    """z_t = (x_t - b_t) exp(-a_t), where (a_t, b_t) are told by x_<t; every second block runs backwards."""

    def __init__(self, places: int, channels: int, width: int, layers: int, heads: int, is_reversed: bool) -> None:
        super().__init__()
        self.is_reversed = is_reversed
        self.first, self.last = nn.Linear(channels, width), nn.Linear(width, 2 * channels)
        self.place = nn.Parameter(0.02 * torch.randn(places, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        nn.init.zeros_(self.last.weight)

    def turn(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.is_reversed else x

    def scales_and_shifts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of all places, of the first one 0: (B, T, C) each."""
        told = self.last(self.layers(self.first(x) + self.place))
        a, b = torch.cat((torch.zeros_like(told[:, :1]), told[:, :-1]), dim=1).chunk(2, dim=2)
        return torch.tanh(a), b

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and the log of the determinant: (B, T, C) -> (B, T, C), (B,)."""
        x = self.turn(x)
        a, b = self.scales_and_shifts(x)
        return self.turn((x - b) * torch.exp(-a)), -a.sum((1, 2))

    def inverse(self, z: Tensor) -> Tensor:
        z = self.turn(z)
        x = z.clone()
        for t in range(1, z.shape[1]):
            a, b = self.scales_and_shifts(x)
            x[:, t] = z[:, t] * torch.exp(a[:, t]) + b[:, t]
        return self.turn(x)


class TarFlow(nn.Module):
    """The density of x by a chain of blocks, and the samples that belong to noise."""

    def __init__(
        self, places: int, channels: int, width: int = 64, layers: int = 2, heads: int = 4, blocks: int = 4
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(places, channels, width, layers, heads, is_reversed=n % 2 == 1) for n in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Minus the log density of each sample up to a constant: (B, T, C) -> (B,)."""
        logs = torch.zeros(len(x))
        for block in self.blocks:
            x, log = block(x)
            logs = logs + log
        return x.square().sum((1, 2)) / 2 - logs

    def inverse(self, z: Tensor) -> Tensor:
        """The samples x that noise z (B, T, C) belongs to."""
        with torch.no_grad():
            for block in reversed(self.blocks):
                z = block.inverse(z)  # pyright: ignore[reportCallIssue]
        return z
