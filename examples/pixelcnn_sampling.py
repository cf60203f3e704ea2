"""Sample images from a small PixelCNN++, pixel by pixel, as written and through fxsolve.

It is trained for at most two minutes, on scikit-learn's digits or on colour patches of its two photographs; the weights
are kept in out/weights. Recording all pixels of a 28x28 image takes minutes.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional as F

from comparing import compare
from digits import grey
from pixelcnn import MIXTURES, PixelCNN
from training import fit, kept

HALF = 1 / 255  # half of the distance between two of the 256 levels in -1 .. 1


def digits(side: int) -> Tensor:
    """Handwritten digits in -1 .. 1: (1797, 1, side, side)."""
    return to_levels(grey(side).view(-1, 1, side, side) / 16)


def patches(side: int) -> Tensor:
    """Colour patches cut from photographs, at a quarter of their resolution, in -1 .. 1: (n, 3, side, side)."""
    photographs = torch.stack([torch.tensor(image) for image in load_sample_images().images])
    small = F.avg_pool2d(photographs.permute(0, 3, 1, 2) / 255.0, 4)
    windows = small.unfold(2, side, 4).unfold(3, side, 4)
    return to_levels(windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, side, side))


def to_levels(x: Tensor) -> Tensor:
    """0 .. 1 to 256 levels in -1 .. 1."""
    return (x * 255).round() / 127.5 - 1


def split(parameters: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (B, M, ...), means and log scales (B, C, M, ...), and couplings of colours, of (B, P, ...)."""
    logits, rest = parameters[:, :MIXTURES], parameters[:, MIXTURES:].unflatten(1, (-1, MIXTURES))
    means, log_scales = rest[:, :channels], rest[:, channels : 2 * channels].clamp(min=-7)
    return logits, means, log_scales, torch.tanh(rest[:, 2 * channels :])


def negative_log_likelihood(model: PixelCNN, x: Tensor) -> Tensor:
    """Of the levels x (B, C, H, W), each the mass that the mixture has around it; the mean over the images."""
    logits, means, log_scales, couplings = split(model(x), x.shape[1])
    if x.shape[1] == 3:
        red, green = x[:, 0, None], x[:, 1, None]
        r, g, b = means.unbind(1)
        means = torch.stack((r, g + couplings[:, 0] * red, b + couplings[:, 1] * red + couplings[:, 2] * green), 1)
    centred = x[:, :, None] - means
    upper, lower = ((centred + sign * HALF) * torch.exp(-log_scales) for sign in (1, -1))
    level = x[:, :, None].expand_as(means)
    mass = (torch.sigmoid(upper) - torch.sigmoid(lower)).clamp(min=1e-12).log()
    edges = torch.where(level > 1 - HALF, F.logsigmoid(-lower), mass)
    edges = torch.where(level < HALF - 1, F.logsigmoid(upper), edges)
    return -torch.logsumexp(F.log_softmax(logits, 1) + edges.sum(1), 1).sum() / len(x)


def draw(parameters: Tensor, channels: int) -> Tensor:
    """A pixel (B, C) of the mixture with the parameters (B, P): one logistic is chosen, and drawn from."""
    logits, means, log_scales, couplings = split(parameters, channels)
    chosen = torch.distributions.Categorical(logits=logits).sample()[:, None, None]
    noise = torch.rand(means.shape[:2], device=means.device).clamp(1e-5, 1 - 1e-5)
    mean, scale = (one.gather(2, chosen.expand(-1, channels, -1)).squeeze(2) for one in (means, log_scales.exp()))
    x = mean + scale * (noise.log() - torch.log1p(-noise))
    if channels == 1:
        return x.clamp(-1, 1)
    by_red, by_red_too, by_green = couplings.gather(2, chosen.expand(-1, 3, -1)).squeeze(2).unbind(1)
    red = x[:, 0].clamp(-1, 1)
    green = (x[:, 1] + by_red * red).clamp(-1, 1)
    blue = (x[:, 2] + by_red_too * red + by_green * green).clamp(-1, 1)
    return torch.stack((red, green, blue), 1)


def trained(channels: int, side: int, seconds: float = 120.0, device: str = "cpu") -> PixelCNN:
    """A PixelCNN++ fitted to images, from out/weights where it has been before."""
    torch.manual_seed(0)
    model = PixelCNN(channels).to(device)

    def train() -> float:
        images = (digits if channels == 1 else patches)(side).to(device)
        title = f"PixelCNN++, {channels} x {side} x {side}"
        return fit(model, lambda x: negative_log_likelihood(model, x), images, 10**6, seconds, title, batch=8)

    kept(model, train, f"pixelcnn_{channels}x{side}x{side}_{seconds:g}s")
    return model.eval()


def sampler(model: PixelCNN, samples: int, channels: int, side: int) -> Callable[[], Tensor]:
    """A function that draws images, one pixel after another: () -> (samples, C, side, side)."""
    device = next(model.parameters()).device

    def sample() -> Tensor:
        with torch.no_grad():
            x = torch.zeros(samples, channels, side, side, device=device)
            for i in range(side):
                for j in range(side):
                    x[:, :, i, j] = draw(model(x)[:, :, i, j], channels)
        return x

    return sample


def factory(seconds: float = 10.0) -> tuple[Callable[[], Tensor], tuple[()]]:
    """For the command line: fxsolve report examples/pixelcnn_sampling.py:factory."""
    return sampler(trained(1, 8, seconds), 4, 1, 8), ()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-seconds", type=float, default=120.0)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--side", type=int, default=28, help="a multiple of 4; of colour patches usually 32")
    parser.add_argument("--colour", action="store_true")
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    channels = 3 if options.colour else 1
    model = trained(channels, options.side, options.train_seconds)
    sample = sampler(model, options.samples, channels, options.side)
    compare(f"PixelCNN++, {channels} x {options.side} x {options.side}", sample)


if __name__ == "__main__":
    main()
