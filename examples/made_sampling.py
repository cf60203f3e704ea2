"""Sample a MADE (Germain et al. 2015) of binary digits pixel by pixel, as usually written and through fxsolve."""

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comparing import compiled, difference, timed
from digits import binary
from training import fit

SIDE = 28
PIXELS = SIDE * SIDE


class MaskedLinear(nn.Linear):
    """A linear layer whose output i reads input j only where mask[i, j] is 1."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.mask * self.weight, self.bias)


class MADE(nn.Module):
    """Logits of p(x_i = 1 | x_<i) for all i at once: (B, D) -> (B, D)."""

    def __init__(self, features: int, hidden: tuple[int, ...] = (512, 512)) -> None:
        super().__init__()
        order = torch.arange(features)
        degrees = [order, *(torch.randint(features - 1, (width,)) for width in hidden)]
        masks = [after[:, None] >= before for before, after in pairwise(degrees)]
        masks.append(order[:, None] > degrees[-1])
        layers = [layer for mask in masks for layer in (MaskedLinear(mask.float()), nn.ReLU())]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def trained(seconds: float = 40.0, device: str = "cpu") -> MADE:
    """A MADE fitted to the digits."""
    torch.manual_seed(0)
    model = MADE(PIXELS).to(device)
    data = binary(SIDE).to(device)

    def loss(x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(model(x), x, reduction="sum") / len(x)

    fit(model, loss, data, steps=2500, seconds=seconds, title="MADE")
    return model.eval()


def sampler(model: nn.Module, n: int) -> Callable[[], Tensor]:
    """A function that draws `n` images, one pixel after another: () -> (n, D)."""
    device = next(model.parameters()).device

    def sample() -> Tensor:
        with torch.no_grad():
            x = torch.zeros(n, PIXELS, device=device)
            for i in range(PIXELS):
                p = torch.sigmoid(model(x)[:, i])
                x[:, i] = torch.bernoulli(p)
        return x

    return sample


def factory(seconds: float = 10.0) -> tuple[Callable[[], Tensor], tuple[()]]:
    """For the command line: fxsolve report examples/made_sampling.py:factory."""
    return sampler(trained(seconds), 100), ()


def save_picture(images: Tensor, path: Path) -> None:
    """Write a grid of up to ten images a row as a PNG file."""
    framed = F.pad(images.cpu().reshape(-1, SIDE, SIDE), (2, 2, 2, 2), value=0.25)
    rows = [torch.cat(tuple(row), dim=1) for row in framed.split(10) if len(row) == min(10, len(framed))]
    grid = torch.cat(rows).repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    matplotlib.image.imsave(path, grid.numpy(), cmap="gray_r", vmin=0, vmax=1)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-seconds", type=float, default=40.0)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("out/made_samples.png"))
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    sample = sampler(trained(options.train_seconds), options.samples)
    print(f"sampling {options.samples} images of {PIXELS} pixels, as written")
    plain, slow_seconds = timed(sample)
    print("the same through fxsolve")
    fast, capture = compiled(sample)
    images, fast_seconds = timed(fast)

    print(fast.report())
    print(f"as written        {slow_seconds * 1e3:8.1f} ms")
    print(f"through fxsolve   {fast_seconds * 1e3:8.1f} ms   {slow_seconds / fast_seconds:.1f}x faster")
    print(f"capture           {capture * 1e3:8.1f} ms   once, the first call included")
    print(f"samples of the same seed: {difference(plain, images)}")
    save_picture(images, options.out)
    print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
