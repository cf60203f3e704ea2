"""scikit-learn's handwritten digits (1797 images, 8x8, grey levels 0 to 16), in the forms that the examples need."""

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F


def grey(side: int) -> Tensor:
    """Grey levels 0 to 16, upsampled bilinearly to side x side: (1797, side * side)."""
    pixels, _ = load_digits(return_X_y=True)
    images = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)
    if side != 8:
        images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    return images.flatten(1)


def binary(side: int) -> Tensor:
    """Pixels that are 1 where the ink is darker than half of the range: (1797, side * side)."""
    return (grey(side) > 8).float()


def dequantiser(levels: Tensor) -> Callable[[Tensor], Tensor]:
    """How to make grey levels continuous: add noise u in [0, 1) and standardise each pixel, (x + u - mean) / std."""
    mean = levels.mean(0) + 1 / 2
    std = (levels.var(0) + 1 / 12).sqrt()
    return lambda batch: (batch + torch.rand_like(batch) - mean) / std
