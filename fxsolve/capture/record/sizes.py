"""Operators whose results have a size that depends on values: what is read to fix it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten


def count_nonzero(x: Tensor) -> int:
    """How many entries are not zero."""
    return int(torch.count_nonzero(x))


def _count_selected(x: Tensor, mask: Tensor) -> None:
    count_nonzero(torch.broadcast_tensors(x, mask)[1])


def _count_masks(x: Tensor, indices: list[Tensor | None]) -> None:
    for index in indices:
        if index is not None and index.dtype in (torch.bool, torch.uint8):
            count_nonzero(index)


def _sum_repeats(repeats: Tensor, output_size: int | None = None) -> None:
    if output_size is None:
        int(repeats.sum())


def _find_largest(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> None:
    if x.numel():
        int(x.max().clamp(min=minlength - 1))


def _count_distinct(x: Tensor, *_: Any, **__: Any) -> None:
    _count_runs(x.flatten().sort().values)


def _count_consecutive(
    x: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> None:
    _count_runs(x.flatten() if dim is None else x.movedim(dim, 0).flatten(1))


def _count_runs(rows: Tensor) -> None:
    """Counts the entries along the first dimension that differ from the one before them."""
    changed = rows[1:] != rows[:-1]
    count_nonzero(changed if changed.dim() == 1 else changed.any(1))


def _check_residuals(a: Tensor, b: Tensor, rcond: float | None = None, *, driver: str | None = None) -> None:
    if driver in ("gelsd", "gelss") and a.shape[-2] > a.shape[-1]:
        raise CaptureError(
            f"{user_line()}: whether torch.linalg.lstsq has residuals depends on ranks with driver={driver!r}; "
            "use driver='gelsy' or 'gels'."
        )


def _find_longest(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, *_: Any, **__: Any
) -> None:
    int(target_lengths.max())


SIZES: Mapping[OpOverload, Callable[..., Any]] = {
    aten.nonzero.default: count_nonzero,
    aten.masked_select.default: _count_selected,
    aten.index.Tensor: _count_masks,
    aten.repeat_interleave.Tensor: _sum_repeats,
    aten.bincount.default: _find_largest,
    aten._unique2.default: _count_distinct,
    aten.unique_consecutive.default: _count_consecutive,
    aten.linalg_lstsq.default: _check_residuals,
    aten._ctc_loss.Tensor: _find_longest,
}
