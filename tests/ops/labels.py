"""Calls of ops on labelled entries."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.call import Call, bind
from fxsolve.ops.domains.entries import LOW, Entries, entries_of

aten = torch.ops.aten


def call(target: Any, *args: Any, **kwargs: Any) -> Call:
    """The call of an op; its example is what it makes of ordinary values in the places of labelled ones."""
    plain = torch.utils._pytree.tree_map(_plain, (args, kwargs), is_leaf=_is_entries)
    return bind(target, args, kwargs, target(*plain[0], **plain[1]))


def _is_entries(value: Any) -> bool:
    return isinstance(value, Entries)


def _plain(value: Any) -> Any:
    return torch.zeros(value.shape, dtype=_type(value)) if _is_entries(value) else value


def _type(value: Entries) -> torch.dtype | None:
    return None if value.true is None else torch.bool


def steps(*labels: Any) -> Tensor:
    """Labels of entries."""
    return torch.tensor(labels)


def known(*numbers: Any) -> Entries:
    """What is known of entries with these values in every run."""
    return entries_of(torch.tensor(numbers))


HIDDEN = 2 * LOW
