"""Tensors that torch conjugates or negates lazily: by a flag, until something reads their memory."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fxsolve.torch_compat.tensors import negative_view


def as_lazy(values: Tensor, conjugated: bool, negated: bool) -> Tensor:
    """The same values with these flags; `values` itself where it has them already."""
    if (values.is_conj(), values.is_neg()) == (conjugated, negated):
        return values
    held = values.resolve_conj().resolve_neg()  # arithmetic on a flagged tensor drops the other flag
    held = -held if negated else held
    held = torch.conj_physical(held).conj() if conjugated else held
    return negative_view(held) if negated else held


def without_flags(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same values, for code that reads memory and does not look at flags."""
    return tuple(as_lazy(one, conjugated=False, negated=False) for one in tensors)
