"""The WaveNet of the example with a queue for each layer (Le Paine et al. 2016, Fast WaveNet)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from comparing import Program
from wavenet_sampling import Gated, WaveNet


class QueuedLayer:
    """A layer for one value at a time; its queue holds its inputs of the last `dilation` times: (dilation, B, C)."""

    def __init__(self, layer: Gated, samples: int) -> None:
        weight = layer.convolution.weight
        self.both = weight.permute(0, 2, 1).flatten(1), layer.convolution.bias
        self.out = (
            torch.cat((layer.residual.weight, layer.skip.weight)).squeeze(2),
            torch.cat((layer.residual.bias, layer.skip.bias)),  # pyright: ignore[reportArgumentType, reportCallIssue]
        )
        self.queue = weight.new_zeros(layer.dilation, samples, weight.shape[1])

    def step(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Time t: (B, C) -> what goes on to the next layer, and what is skipped to the head."""
        before = self.queue[t % len(self.queue)]
        a, b = F.linear(torch.cat((before, x), dim=1), *self.both).chunk(2, dim=1)
        before.copy_(x)
        residual, skip = F.linear(torch.tanh(a) * torch.sigmoid(b), *self.out).chunk(2, dim=1)
        return x + residual, skip


def sampler(model: WaveNet, samples: int, steps: int) -> Program:
    """As `wavenet_sampling.sampler`."""

    def sample() -> Tensor:
        with torch.no_grad():
            layers = [QueuedLayer(layer, samples) for layer in model.layers]  # pyright: ignore
            x = torch.zeros(samples, steps, dtype=torch.long)
            h = torch.zeros(samples, model.embedding.weight.shape[1])
            for t in range(steps):
                total = torch.zeros_like(h)
                for layer in layers:
                    h, skip = layer.step(h, t)
                    total += skip
                probabilities = F.softmax(model.head(total[:, :, None])[:, :, 0], dim=1)
                x[:, t] = torch.multinomial(probabilities, 1)[:, 0]
                h = model.embedding(x[:, t])
        return x

    return sample
