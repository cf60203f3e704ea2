"""Sample sound from a small WaveNet (van den Oord et al. 2016), value by value, as written and through fxsolve.

It is trained on plucked strings for at most two minutes; the weights are kept in out/weights.
"""

import argparse
from collections.abc import Callable, Sequence
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comparing import compare
from training import fit, kept

LEVELS, WIDTH, LAYERS, STEPS = 256, 32, 10, 1000
RATE = 8000  # values a second


class Gated(nn.Module):
    """tanh(a) * sigmoid(b) of a causal convolution, added to the input and to what is skipped to: (B, C, T) -> both."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.convolution = nn.Conv1d(width, 2 * width, kernel_size=2, dilation=dilation)
        self.residual, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.convolution(F.pad(x, (self.dilation, 0))).chunk(2, dim=1)
        gated = torch.tanh(a) * torch.sigmoid(b)
        return x + self.residual(gated), self.skip(gated)


class WaveNet(nn.Module):
    """Logits of the level at each time, given those before it: (B, T) -> (B, levels, T)."""

    def __init__(self, levels: int = LEVELS, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.embedding = nn.Embedding(levels, width)
        self.layers = nn.ModuleList(Gated(width, 2**number) for number in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, levels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(self.embedding(x).transpose(1, 2), (1, -1))
        total = torch.zeros_like(h)
        for layer in self.layers:
            h, skip = layer(h)
            total = total + skip
        return self.head(total)


def encode(wave: Tensor, levels: int = LEVELS) -> Tensor:
    """The mu-law of G.711: from -1 .. 1 to one of the levels."""
    mu = levels - 1
    squeezed = wave.sign() * torch.log1p(mu * wave.abs()) / torch.log1p(torch.tensor(float(mu)))
    return ((squeezed + 1) / 2 * mu + 0.5).long()


def strings(count: int, steps: int) -> Tensor:
    """Plucked strings of random pitch, each with six decaying harmonics, from a random time on: (count, steps)."""
    pitch = 110 * 2 ** torch.randint(0, 24, (count, 1, 1)).div(12)
    time = (torch.arange(steps) + torch.rand(count, 1, 1) * RATE) / RATE
    harmonic = torch.arange(1, 7).view(1, 6, 1)
    waves = torch.sin(2 * pi * pitch * harmonic * time) * torch.exp(-harmonic * time * 2) / harmonic
    return 0.4 * waves.sum(1)


def trained(seconds: float = 120.0, device: str = "cpu") -> WaveNet:
    """A WaveNet fitted to strings, from out/weights where it has been before."""
    torch.manual_seed(0)
    model = WaveNet().to(device)

    def loss(x: Tensor) -> Tensor:
        return F.cross_entropy(model(x), x)

    def train() -> float:
        sounds = encode(strings(1000, 2 * STEPS)).to(device)
        return fit(model, loss, sounds, steps=10**6, seconds=seconds, title="WaveNet", batch=8)

    kept(model, train, f"wavenet_{seconds:g}s")
    return model.eval()


def sampler(model: WaveNet, samples: int, steps: int) -> Callable[[], Tensor]:
    """A function that draws sounds, one value after another: () -> (samples, steps)."""
    device = model.embedding.weight.device

    def sample() -> Tensor:
        with torch.no_grad():
            x = torch.zeros(samples, steps, dtype=torch.long, device=device)
            for t in range(steps):
                probabilities = F.softmax(model(x)[:, :, t], dim=1)
                x[:, t] = torch.multinomial(probabilities, 1)[:, 0]
        return x

    return sample


def factory(seconds: float = 10.0) -> tuple[Callable[[], Tensor], tuple[()]]:
    """For the command line: fxsolve report examples/wavenet_sampling.py:factory."""
    return sampler(trained(seconds), 1, STEPS), ()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-seconds", type=float, default=120.0)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    sample = sampler(trained(options.train_seconds), options.samples, options.steps)
    compare(f"WaveNet, {options.steps} values", sample)


if __name__ == "__main__":
    main()
