"""Tensors that torch conjugates or negates lazily: by a flag, until something reads their memory."""

import torch
from torch import Tensor

from fxsolve.torch_compat.tensors import negative_view


def as_lazy(values: Tensor, conjugated: bool, negated: bool) -> Tensor:
    """The same values with these flags; `values` itself where it has them already."""
    if values.is_neg() != negated:
        values = negative_view(-values) if negated else values.resolve_neg()
    if values.is_conj() != conjugated:
        values = torch.conj_physical(values).conj() if conjugated else values.resolve_conj()
    return values
