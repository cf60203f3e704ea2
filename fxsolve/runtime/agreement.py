"""How close an emitted module must come to the program: rounding, and what stop tests leave behind."""

import torch
from torch import Tensor

from fxsolve.report.data import Check
from fxsolve.report.difference import compare

_LEFT_BEHIND = 10.0  # the error of a result in stop tolerances: later equations may enlarge it


def check(outputs: tuple[Tensor, ...], recorded: tuple[Tensor, ...], stop: float) -> Check:
    """The difference of two results; tolerated are rounding and what stop tests of `stop` leave behind."""
    return compare(outputs, recorded, tolerance_of(recorded, stop))


def check_gradients(gradients: tuple[Tensor, ...], recorded: tuple[Tensor, ...], stop: float) -> Check:
    """The difference of gradients, each relative to its own largest entry and a tenth of the largest of all.

    Sums over steps may be added up in another order; 1000 eps is tolerated, and what stop tests of `stop` leave behind.
    """
    sizes = [_largest(gradient) for gradient in recorded]
    scales = [size + 0.1 * max(sizes) or 1.0 for size in sizes]
    ours, theirs = (
        tuple(gradient.detach() / scale for gradient, scale in zip(both, scales, strict=True))
        for both in (gradients, recorded)
    )
    eps = max(torch.finfo(gradient.dtype).eps for gradient in recorded)
    return compare(ours, theirs, 1000 * eps + _LEFT_BEHIND * stop)


def tolerance_of(tensors: tuple[Tensor, ...], stop: float = 0.0) -> float:
    """(100 eps + 10 stop) max(1, max |entry|), with the eps of the least precise floating-point type."""
    floating = [t.detach() for t in tensors if t.is_floating_point() or t.is_complex()]
    scale = max(map(_largest, floating), default=0.0)
    eps = max((torch.finfo(t.dtype).eps for t in floating), default=0.0)
    return (100 * eps + _LEFT_BEHIND * stop) * max(1.0, scale)


def _largest(tensor: Tensor) -> float:
    """max |entry|, of those that are finite."""
    return float(tensor.detach().abs().nan_to_num(0.0, 0.0, 0.0).max()) if tensor.numel() else 0.0
