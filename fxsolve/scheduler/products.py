"""Time labels of matrix products and convolutions: an entry of a weight that is zero lets nothing through."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.scheduler.labels import NEVER, Timed, labels_of, pointwise

_MOST_WORK = 10**10  # entries compared for one product; beyond that the answer would come too late


def mm(left: Any, right: Any) -> Timed:
    """(M, K) @ (K, N), and batches of such products if both factors depend on steps."""
    if isinstance(left, Timed) and isinstance(right, Timed):
        return Timed(torch.maximum(left.labels.amax(-1, keepdim=True), right.labels.amax(-2, keepdim=True)))
    if isinstance(right, Timed):
        assert isinstance(left, Tensor)
        return Timed(_latest_reached(right.labels.mT, left.mT).mT)
    return Timed(_latest_reached(left.labels, right))


def bmm(left: Any, right: Any) -> Timed:
    """(B, M, K) @ (B, K, N)."""
    if isinstance(left, Timed) and isinstance(right, Timed):
        return mm(left, right)
    factors = [value if isinstance(value, Tensor) else map(Timed, value.labels) for value in (left, right)]
    return Timed(torch.stack([mm(a, b).labels for a, b in zip(*factors, strict=True)]))


def addmm(bias: Any, left: Any, right: Any, **_: Any) -> Timed:
    """bias + left @ right, whatever the factors of both."""
    return pointwise(bias, mm(left, right))


def convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, _: Any, groups: int
) -> Timed:
    """A plain convolution of images as a product of its patches with the weight, (B, L, K) @ (K, O)."""
    labels = labels_of(x)
    kernel = weight.shape[2:] if isinstance(weight, Tensor) else ()
    if transposed or groups != 1 or len(kernel) != 2 or isinstance(bias, Timed):
        raise NotImplementedError
    alike = bool((labels == labels[:1]).all())  # a batch shares its labels
    patches = _patches(labels[:1] if alike else labels, kernel, stride, padding, dilation)
    reached = _latest_reached(patches, weight.flatten(1).mT)
    height, width = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip(labels.shape[2:], padding, dilation, kernel, stride, strict=True)
    )
    result = reached.mT.reshape(-1, weight.shape[0], height, width)
    return Timed(result.expand(len(labels), *result.shape[1:]))


def _patches(labels: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """(B, C, H, W) -> (B, L, C * kh * kw); the padding depends on no step."""
    rows, columns = padding
    padded = F.pad(labels.double(), (columns, columns, rows, rows), value=NEVER)
    return F.unfold(padded, kernel, dilation, 0, stride).mT.to(labels.dtype)


def _latest_reached(labels: Tensor, weight: Tensor) -> Tensor:
    """max over k with weight[k, j] != 0 of labels[..., k]: (..., K), (K, N) -> (..., N).

    Rows of labels repeat, as a batch shares them, and so do patterns of zeros: each distinct pair is computed once.
    """
    if labels.shape[-1] == 0:
        raise NotImplementedError
    rows, row_of = labels.reshape(-1, labels.shape[-1]).unique(dim=0, return_inverse=True)
    patterns, pattern_of = (weight != 0).byte().unique(dim=1, return_inverse=True)
    used = patterns.bool().mT
    if rows.numel() * len(used) > _MOST_WORK:
        raise NotImplementedError
    reached = torch.stack([torch.where(pattern, rows, NEVER).amax(1) for pattern in used], 1)
    return reached[row_of][:, pattern_of].reshape(*labels.shape[:-1], weight.shape[-1])
