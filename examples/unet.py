"""A U-Net (Ronneberger et al. 2015): every level going up reads the one of its size going down, a long skip."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Twice(nn.Sequential):
    """Two convolutions of 3x3 that keep the size."""

    def __init__(self, before: int, after: int) -> None:
        first = nn.Conv2d(before, after, 3, padding=1)
        super().__init__(first, nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU())


class UNet(nn.Module):
    """Images (B, 3, H, W), H and W multiples of 2^levels -> logits (B, 2, H, W)."""

    def __init__(self, width: int = 8, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.first = Twice(3, width)
        self.down = nn.ModuleList(Twice(one, two) for one, two in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * one, one, 2, stride=2) for one in widths[-2::-1])
        self.merge = nn.ModuleList(Twice(2 * one, one) for one in widths[-2::-1])
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.first(x)]
        for down in self.down:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        return self.last(x)


def factory() -> tuple[UNet, tuple[Tensor]]:
    """For the command line: fxsolve graph examples/unet.py:factory -o out/unet.svg."""
    torch.manual_seed(0)
    return UNet().eval().requires_grad_(False), (torch.randn(1, 3, 64, 64),)
