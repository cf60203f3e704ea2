"""Bitwise comparison of tensors: NaN equals itself, and -0.0 differs from 0.0."""

from collections.abc import Iterable

import torch
from torch import Tensor

_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def to_bits(values: Tensor) -> Tensor:
    """View `values` as integers of the same width; a complex entry becomes two integers."""
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.resolve_neg().view(_INTEGER[values.element_size()])


def differs(new: Tensor, old: Tensor) -> Tensor:
    """Whether any bit differs, as a 0-d boolean tensor that stays on the device."""
    if new.numel() == 0:
        return torch.zeros((), dtype=torch.bool, device=new.device)
    # aminmax of the exclusive or reads the entries once; any() over booleans is several times slower on a CPU.
    low, high = torch.aminmax(to_bits(new) ^ to_bits(old))
    return (low | high) != 0


def changed_steps(pairs: Iterable[tuple[Tensor, Tensor]], length: int) -> Tensor | None:
    """Whether any bit of a step differs in any pair of (length, ...) stacks, as (length,); None if none has bits."""
    rows = [(to_bits(new) ^ to_bits(old)).reshape(length, -1).ne(0).any(1) for new, old in pairs if new.numel() > 0]
    return torch.stack(rows).any(0) if rows else None


def unchanged_steps(pairs: Iterable[tuple[Tensor, Tensor]], length: int) -> int:
    """The number of leading steps whose entries are bitwise equal in every pair of (length, ...) stacks.

    Reads the device once.
    """
    changed = changed_steps(pairs, length)
    if changed is None:
        return length
    return int(torch.cat((changed, changed.new_ones(1))).int().argmax())
