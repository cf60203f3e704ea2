"""Several backward passes of one call at once, as `torch.autograd.grad(is_grads_batched=True)` asks for them.

Their cotangents are tensors without memory, of which only torch's own operations know the batch.
"""

from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from torch import Tensor

from fxsolve.runtime.gradients import Derivatives, Gradients
from fxsolve.torch_compat.batches import as_batch, enter_level, entries_of_batch, is_batch, leave_level


def are_batched(cotangents: Gradients) -> bool:
    """Whether one of them stands for several."""
    return any(one is not None and is_batch(one) for one in cotangents)


def derive_each(derive: Callable[[Gradients], Derivatives], cotangents: Gradients) -> Derivatives:
    """What `derive` gives for each entry of the innermost batch, as one batch again."""
    level = enter_level() - 1
    leave_level()
    size = max(len(_entries(one, level, 1)) for one in cotangents if one is not None)
    columns = [repeat(None, size) if one is None else _entries(one, level, size) for one in cotangents]
    leave_level()  # the entries may be batches themselves, of the next level
    try:
        found = [derive(given) for given in zip(*columns, strict=True)]
        gradients = [_stack(column) for column in zip(*(one.gradients for one in found), strict=True)]
        totals = [_stack(column) for column in zip(*(one.totals for one in found), strict=True)]
    finally:
        enter_level()
    return Derivatives(_as_batch(gradients, level), _as_batch(totals, level))


def _entries(cotangent: Tensor, level: int, size: int) -> tuple[Tensor, ...]:
    """Those of a batch; `size` times the same of a tensor that is none."""
    return entries_of_batch(cotangent, level, size, 0).unbind()


def _stack(column: Sequence[Tensor | None]) -> Tensor | None:
    given = [one for one in column if one is not None]
    return torch.stack(given) if given else None


def _as_batch(stacked: Sequence[Tensor | None], level: int) -> Gradients:
    return tuple(None if one is None else as_batch(one, 0, level) for one in stacked)
