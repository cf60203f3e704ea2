"""Programs that the tests of capture run."""

import torch
from torch import Tensor, nn


class LoopGRU(nn.Module):
    """A GRU as a Python loop over x of shape (T, B, n)."""

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        self.read, self.keep = nn.Linear(n, 3 * n), nn.Linear(n, 3 * n)

    def forward(self, x: Tensor) -> Tensor:
        h, states = x.new_zeros(x.shape[1:]), []
        for t in range(x.shape[0]):
            (a, b, c), (d, e, f) = self.read(x[t]).chunk(3, -1), self.keep(h).chunk(3, -1)
            z = torch.sigmoid(b + e)
            h = (1 - z) * torch.tanh(c + torch.sigmoid(a + d) * f) + z * h
            states.append(h)
        return torch.stack(states)


class PixelSampler(nn.Module):
    """Fills a buffer column by column with Bernoulli samples that depend on the columns before."""

    def __init__(self, pixels: int = 6) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, pixels))
        self.pixels = pixels

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        x = torch.zeros(count, self.pixels)
        for i in range(self.pixels):
            x[:, i] = torch.bernoulli(torch.sigmoid(self.net(x)[:, i]))
        return x
