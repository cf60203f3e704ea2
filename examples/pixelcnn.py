"""PixelCNN++ (Salimans et al. 2017): two streams of shifted convolutions, with weight norm, over three resolutions.

The stream u sees the rows above a pixel, the stream ul also what is left of it in its own row.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

Make = Callable[..., nn.Module]
MIXTURES = 5


def concat_elu(x: Tensor) -> Tensor:
    """elu of x and of -x: twice the channels."""
    return F.elu(torch.cat((x, -x), dim=1))


class Shifted(nn.Module):
    """A convolution whose kernel ends in the row of its pixel, with so many columns to the left and the right."""

    def __init__(self, channels: int, filters: int, rows: int, left: int, right: int, stride: int = 1) -> None:
        super().__init__()
        self.around = (left, right, rows - 1, 0)
        self.conv = weight_norm(nn.Conv2d(channels, filters, (rows, left + 1 + right), stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.around))


class Enlarged(nn.Module):
    """The transposed convolution of stride 2 of such a kernel, without what reaches beyond the image."""

    def __init__(self, channels: int, filters: int, rows: int, left: int, right: int) -> None:
        super().__init__()
        self.rows, self.left, self.right = rows, left, right
        size = (rows, left + 1 + right)
        self.conv = weight_norm(nn.ConvTranspose2d(channels, filters, size, 2, output_padding=1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        return self.conv(x)[:, :, :height, self.right : self.right + width]


def above(channels: int, filters: int, kind: Make = Shifted, **options: int) -> nn.Module:
    """The kernel of the stream u, 2 x 3."""
    return kind(channels, filters, rows=2, left=1, right=1, **options)


def above_left(channels: int, filters: int, kind: Make = Shifted, **options: int) -> nn.Module:
    """The kernel of the stream ul, 2 x 2."""
    return kind(channels, filters, rows=2, left=1, right=0, **options)


class Gated(nn.Module):
    """x + a * sigmoid(b), where (a, b) are two convolutions of x and a 1 x 1 convolution of what is `beside` it."""

    def __init__(self, filters: int, make: Make, beside: int = 0) -> None:
        super().__init__()
        self.first = make(2 * filters, filters)
        self.beside = weight_norm(nn.Conv2d(2 * beside, filters, 1)) if beside else None
        self.second = make(2 * filters, 2 * filters)

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        h = self.first(concat_elu(x))
        if self.beside is not None:
            h = h + self.beside(concat_elu(torch.cat(beside, dim=1)))
        a, b = self.second(F.dropout(concat_elu(h), 0.5, self.training)).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)


class Pair(nn.Module):
    """One layer of both streams; on the way up, each also reads what it was on the way down."""

    def __init__(self, filters: int, is_up: bool) -> None:
        super().__init__()
        self.u = Gated(filters, above, beside=filters if is_up else 0)
        self.ul = Gated(filters, above_left, beside=2 * filters if is_up else filters)

    def forward(self, u: Tensor, ul: Tensor, *before: Tensor) -> tuple[Tensor, Tensor]:
        u = self.u(u, *before[:1])
        return u, self.ul(ul, u, *before[1:])


class Resized(nn.Module):
    """Both streams at half or at twice the resolution."""

    def __init__(self, filters: int, kind: Make, **options: int) -> None:
        super().__init__()
        self.u, self.ul = (make(filters, filters, kind, **options) for make in (above, above_left))

    def forward(self, u: Tensor, ul: Tensor) -> tuple[Tensor, Tensor]:
        return self.u(u), self.ul(ul)


class PixelCNN(nn.Module):
    """Parameters of a mixture of logistics at each pixel, given those before it: (B, C, H, W) -> (B, P, H, W)."""

    def __init__(self, channels: int, filters: int = 16, layers: int = 1, mixtures: int = MIXTURES) -> None:
        super().__init__()
        self.above = Shifted(channels + 1, filters, rows=2, left=1, right=1)
        self.row_above = Shifted(channels + 1, filters, rows=1, left=1, right=1)
        self.left = Shifted(channels + 1, filters, rows=2, left=0, right=0)
        self.down = nn.ModuleList(self._pairs(filters, layers, is_up=False) for _ in range(3))
        self.smaller = nn.ModuleList(Resized(filters, Shifted, stride=2) for _ in range(2))
        self.up = nn.ModuleList(self._pairs(filters, layers + (n > 0), is_up=True) for n in range(3))
        self.larger = nn.ModuleList(Resized(filters, Enlarged) for _ in range(2))
        self.last = weight_norm(nn.Conv2d(filters, mixtures * (3 if channels == 1 else 10), 1))

    @staticmethod
    def _pairs(filters: int, layers: int, is_up: bool) -> nn.ModuleList:
        return nn.ModuleList(Pair(filters, is_up) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)  # tells pixels from the padding
        lower, right = (0, 0, 1, -1), (1, -1)
        u = F.pad(self.above(x), lower)
        ul = F.pad(self.row_above(x), lower) + F.pad(self.left(x), right)
        seen = [(u, ul)]
        for number, pairs in enumerate(self.down):
            for pair in pairs:  # pyright: ignore[reportGeneralTypeIssues]
                seen.append(pair(*seen[-1]))
            if number < len(self.smaller):
                seen.append(self.smaller[number](*seen[-1]))
        u, ul = seen.pop()
        for number, pairs in enumerate(self.up):
            for pair in pairs:  # pyright: ignore[reportGeneralTypeIssues]
                u, ul = pair(u, ul, *seen.pop())
            if number < len(self.larger):
                u, ul = self.larger[number](u, ul)
        return self.last(F.elu(ul))
