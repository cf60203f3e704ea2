"""A MADE (Germain et al. 2015) whose outputs are the logistic of each entry, with masks drawn at random."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import made_sampling

HALF = 1 / 255


class LogisticMADE(nn.Module):
    """Mean and log scale of each entry, given those before it: (B, D) -> (B, D), (B, D)."""

    def __init__(self, features: int, hidden: tuple[int, ...] = (512, 512)) -> None:
        super().__init__()
        masked = made_sampling.MADE(features, hidden)
        last: made_sampling.MaskedLinear = masked.net[-1]  # pyright: ignore[reportAssignmentType]
        self.net = nn.Sequential(*list(masked.net)[:-1], made_sampling.MaskedLinear(last.mask.repeat(2, 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        means, log_scales = self.net(x).chunk(2, dim=1)
        return means, log_scales.clamp(min=-7)

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """Of levels in -1 .. 1, each the mass that its logistic has around it; the mean over the batch."""
        means, log_scales = self(x)
        upper, lower = ((x - means + sign * HALF) * torch.exp(-log_scales) for sign in (1, -1))
        mass = (torch.sigmoid(upper) - torch.sigmoid(lower)).clamp(min=1e-12).log()
        edges = torch.where(x > 1 - HALF, F.logsigmoid(-lower), mass)
        return -torch.where(x < HALF - 1, F.logsigmoid(upper), edges).sum() / len(x)


def sampler(model: LogisticMADE, samples: int, features: int) -> Callable[[], Tensor]:
    """A function that draws vectors entry by entry: () -> (samples, D)."""

    def sample() -> Tensor:
        with torch.no_grad():
            x = torch.zeros(samples, features)
            for i in range(features):
                means, log_scales = model(x)
                noise = torch.rand(samples).clamp(1e-5, 1 - 1e-5)
                drawn = means[:, i] + log_scales[:, i].exp() * (noise.log() - torch.log1p(-noise))
                x[:, i] = drawn.clamp(-1, 1)
        return x

    return sample
