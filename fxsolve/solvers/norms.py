"""The change between two iterates, read from the device once."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import differs
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Change:
    """What one sweep changed.

    `size` is max |s_new - s_old|, or 1.0 where an integer or boolean state changed; `exact` says that nothing
    changed bit for bit; `finite` is false where the change is NaN or infinite, so also where only s_old was.
    """

    size: float
    converged: bool
    exact: bool
    finite: bool


def measure(pairs: Iterable[tuple[Tensor, Tensor]], stop: Stop) -> Change:
    """Apply the test of `stop` to pairs (new, old).

    The device is read once, and once more where no number changed: -0.0 and 0.0 are equal but not the same.
    """
    live = [(new, old) for new, old in pairs if new.numel() > 0]
    if not live:
        return Change(0.0, converged=True, exact=True, finite=True)
    numbers = _read([number for new, old in live for number in _numbers(new, old, stop)])
    sizes, excesses = numbers[::2], numbers[1::2]
    if not all(map(math.isfinite, sizes)):
        return Change(math.nan, converged=False, exact=False, finite=False)
    tolerant = stop.atol > 0 or stop.rtol > 0
    if max(sizes) == 0:
        exact = not any(_read([differs(new, old) for new, old in live]))
        return Change(0.0, converged=exact or tolerant, exact=exact, finite=True)
    within = (excess <= (stop.atol if has_size(new) else 0) for excess, (new, _) in zip(excesses, live, strict=True))
    return Change(max(sizes), converged=tolerant and all(within), exact=False, finite=True)


def _numbers(new: Tensor, old: Tensor, stop: Stop) -> tuple[Tensor, Tensor]:
    """max |new - old|, and the same less rtol max |new|; for integers and booleans, whether anything changed."""
    if not has_size(new):
        changed = differs(new, old)
        return changed, changed
    size = _largest(new - old)
    return size, size.sub(_largest(new), alpha=stop.rtol) if stop.rtol > 0 else size


def _largest(values: Tensor) -> Tensor:
    """max |values|, reading them once."""
    if values.is_complex():
        return values.abs().amax()
    low, high = torch.aminmax(values)
    return torch.maximum(-low, high)


def has_size(values: Tensor) -> bool:
    """Whether a state has a size of change, rather than just being the same or not."""
    return values.is_floating_point() or values.is_complex()


def _read(flags: list[Tensor]) -> list[float]:
    """The values of 0-d tensors, with one host synchronisation."""
    return torch.stack([flag.to(flags[0].device, torch.float64) for flag in flags]).tolist()
