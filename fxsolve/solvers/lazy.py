"""Tensors that torch conjugates or negates lazily: by a flag, until something reads their memory."""

import torch
from torch import (
    Tensor,
    _neg_view,  # pyright: ignore[reportPrivateImportUsage]  # the one way to set the flag of a real tensor
)


def as_lazy(values: Tensor, conjugated: bool, negated: bool) -> Tensor:
    """The same values with these flags; `values` itself where it has them already."""
    if values.is_neg() != negated:
        values = _neg_view(-values) if negated else values.resolve_neg()
    if values.is_conj() != conjugated:
        values = torch.conj_physical(values).conj() if conjugated else values.resolve_conj()
    return values
