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
    """Apply the test of `stop` to pairs (new, old) of stacks (n, ...) of steps.

    The device is read once, and once more where no number changed: -0.0 and 0.0 are equal but not the same; or where
    all steps together meet the test, which each has to. Going through them by steps is five times slower on a CPU.
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
    converged = tolerant and all(within) and all(_read([steps_within(*pair, stop).all() for pair in live]))
    return Change(max(sizes), converged=converged, exact=False, finite=True)


def steps_within(new: Tensor, old: Tensor, stop: Stop, factor: Tensor | float = 1.0) -> Tensor:
    """Whether each step of (n, ...) stacks meets the test of `stop`, (n,), for its change times `factor`."""
    if not has_size(new):
        return (new == old).reshape(len(new), -1).all(1)
    sizes = largest_of_steps(new)
    return largest_of_steps(new - old) * factor <= stop.atol + stop.rtol * torch.maximum(sizes, step_before(sizes))


def largest_of_steps(values: Tensor) -> Tensor:
    """max |values| of each step, (n,) in float64."""
    return values.reshape(len(values), -1).abs().amax(1).double()


def step_before(sizes: Tensor) -> Tensor:
    """The rows of the step before; the first has none."""
    return torch.cat((sizes[:1], sizes[:-1]))


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
