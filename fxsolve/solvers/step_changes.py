"""How far into a window a sweep has settled, read from the device once."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import changed_steps
from fxsolve.solvers.norms import has_size, largest_of_steps, steps_within
from fxsolve.solvers.stop import Stop

Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Front:
    """The `leading` steps of a window whose change meets the test, and those of them that changed no bit, `exact`.

    `sizes` are max |s_new - s_old| of each step, left on the device; `size` is the largest of them, NaN if any is not
    finite.
    """

    sizes: Tensor
    leading: int
    exact: int
    size: float


def find_front(pairs: Pairs, before: Tensor | None, stop: Stop, length: int) -> Front:
    """Apply the test of `stop` to every step of pairs (new, old) of (length, ...) stacks.

    `before` are the changes that the last sweep made to the leading steps of this window; from them comes the factor
    of `stop`. Steps behind those have no rate yet, and where nothing shrank no step has: they must be equal.
    """
    live = [(new, old) for new, old in pairs if new.numel() > 0]
    changed = changed_steps(live, length)
    if changed is None:
        return Front(torch.zeros(length), length, length, 0.0)
    every = [largest_of_steps(new - old) if has_size(new) else changed.double() for new, old in live]
    sizes = torch.stack(every).amax(0)
    close = torch.zeros_like(changed)
    if before is not None and (stop.atol > 0 or stop.rtol > 0):
        factor = _factor(sizes[: len(before)], before)
        within = [steps_within(new, old, stop, factor) for new, old in live]
        close[: len(before)] = torch.stack(within).all(0)[: len(before)]
    numbers = torch.stack([_leading(~changed | close), _leading(~changed), sizes.amax()]).tolist()
    size = numbers[2] if math.isfinite(numbers[2]) else math.nan
    return Front(sizes, int(numbers[0]), int(numbers[1]), size)


def _factor(sizes: Tensor, before: Tensor) -> Tensor:
    """c = max(1, rho / (1 - rho)) for the rate rho at which the changes shrank; infinite where they did not."""
    now, then = sizes.amax(), before.amax()
    shrank = (now < then) & then.isfinite()
    return torch.where(shrank, (now / (then - now)).clamp(min=1.0), math.inf)


def _leading(good: Tensor) -> Tensor:
    """The number of leading entries that are true, as a float."""
    return good.double().cumprod(0).sum()
