"""What is known of the entries of a value: of which steps each may depend, and what it is in every run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.torch_compat.trees import pytree

NEVER = -1
LOW = -1e8  # masks of attention are below; no score that is meant to count is


def is_low(number: Any) -> bool:
    """Whether a number hides what it is added to in front of a softmax; complex numbers have no order."""
    return not isinstance(number, complex) and number <= LOW


@dataclass(frozen=True)
class Entries:
    """For each entry of a value the latest step that it can depend on, `NEVER` for none, and two things about it.

    `zero` are entries that are 0 in every run. `low` are those that a mask has made so negative that their exponential
    is 0 beside that of any other entry. An entry that is always 0 depends on no step. Of booleans, `true` are those
    that are so in every run; None where none is known to be. All have one shape.
    """

    latest: Tensor
    zero: Tensor
    low: Tensor
    true: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return self.latest.shape

    def all_alike(self, change: Callable[[Tensor], Tensor]) -> "Entries":
        """The entries moved: `change` is applied to all that is known."""
        true = None if self.true is None else change(self.true)
        return Entries(change(self.latest), change(self.zero), change(self.low), true)


def entries(latest: Tensor, zero: Tensor | None = None, low: Tensor | None = None) -> Entries:
    """Entries with these labels; none is known to be zero or low unless it is said."""
    none = torch.zeros((), dtype=torch.bool, device=latest.device).expand(latest.shape)
    if zero is not None:
        latest = torch.where(zero, NEVER, latest)
    return Entries(latest, none if zero is None else zero.expand(latest.shape), none if low is None else low)


def entries_of(value: Any, device: torch.device | None = None) -> Entries:
    """What is known of a value; of an ordinary tensor or number everything is."""
    if isinstance(value, Entries):
        return value
    known = value if isinstance(value, Tensor) else torch.as_tensor(value, device=device)
    latest = torch.full((), NEVER, device=known.device).expand(known.shape)
    if known.dtype == torch.bool:
        return Entries(latest, ~known, torch.zeros_like(known), known)
    return Entries(
        latest, known == 0, torch.zeros_like(known, dtype=torch.bool) if known.is_complex() else known <= LOW
    )


def flags(latest: Tensor, zero: Tensor, true: Tensor) -> Entries:
    """Booleans of which some are known to be false, or true; these depend on no step."""
    known = entries(torch.where(true, NEVER, latest), zero)
    return Entries(known.latest, known.zero, known.low, true.expand(latest.shape))


def unknown(shape: Iterable[int], latest: int = NEVER, device: torch.device | None = None) -> Entries:
    """Entries of which nothing else is known."""
    return entries(torch.full((), latest, device=device).expand(tuple(shape)))


def tells(value: Entries) -> bool:
    """Whether any entry is known to be zero, low or true."""
    return any(bool(one.any()) for one in (value.zero, value.low, value.true) if one is not None)


def known_true(value: Entries) -> Tensor:
    """Which booleans are true in every run."""
    return torch.zeros_like(value.zero) if value.true is None else value.true


def abstract_in(arguments: Any) -> list[Entries]:
    """The entries among arguments, also in lists."""
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Entries)]


def is_free(value: Any) -> bool:
    """Whether a value depends on no step."""
    return all(bool((one.latest == NEVER).all()) for one in abstract_in(value))


def latest_in(arguments: Any) -> int:
    """The latest step that any entry among the arguments depends on."""
    return max((int(one.latest.max()) for one in abstract_in(arguments) if one.latest.numel()), default=NEVER)


def broadcast(values: Iterable[Any]) -> list[Entries]:
    """What is known of each value, all in one shape."""
    known = [entries_of(value) for value in values]
    shape = torch.broadcast_shapes(*(one.shape for one in known))
    return [one.all_alike(lambda part: part.expand(shape)) for one in known]


def latest_of(values: Iterable[Entries]) -> Tensor:
    """The labels of a result that reads the entries at its own place of all values."""
    labels = [value.latest for value in values]
    result = labels[0]
    for label in labels[1:]:
        result = torch.maximum(result, label)
    return result
