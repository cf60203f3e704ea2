"""When an iteration may end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Stop:
    """Stop once c |s_new - s_old| <= atol + rtol |s_new| for every carried value at every step, or after `max_sweeps`.

    |s_new - s_old| is the largest entry of a step, |s_new| that of the step and of the one before it, by which it
    rounds: a step far smaller than others may be divided by its norm later. c = max(1, rho / (1 - rho)) turns a change
    into the error left behind, for changes that shrink by the factor rho from sweep to sweep (`tighten`). With
    `atol == rtol == 0` the test is bitwise equality. Integer and boolean states always use equality. `max_sweeps=None`
    allows as many sweeps as the longest chain of steps has, after which Jacobi is exact (Song et al. 2021, prop. 1).
    """

    atol: float = 0.0
    rtol: float = 0.0
    max_sweeps: int | None = None

    @property
    def is_bitwise(self) -> bool:
        """Whether nothing but equality will do."""
        return self.atol == 0 and self.rtol == 0


_RECENT = 5  # changes; the rate between two is mostly noise where they come close to rounding


def tighten(stop: Stop, sizes: Sequence[float]) -> Stop:
    """The test of the next change itself, by the mean rate at which the last few ones of `sizes` shrank.

    Where no rate is known, or they did not shrink, only equality will do: many small changes add up.
    """
    recent = sizes[-_RECENT:]
    if len(recent) < 2 or not recent[-1] < recent[0] < math.inf:
        return replace(stop, atol=0.0, rtol=0.0)
    rate = (recent[-1] / recent[0]) ** (1 / (len(recent) - 1))
    factor = max(1.0, rate / (1 - rate)) if rate < 1 else math.inf
    return replace(stop, atol=stop.atol / factor, rtol=stop.rtol / factor)


_TOLERANCE = {torch.float64: 1e-12, torch.complex128: 1e-12, torch.float32: 1e-6, torch.complex64: 1e-6}


def default_stop(dtype: torch.dtype) -> Stop:
    """The stop test used when the user names none: 1e-6 of each step for float32, 1e-12 for float64, or equality.

    No absolute size means anything to a loop: it may scale with what drives it, as a backward pass with its cotangent.
    """
    return Stop(rtol=_TOLERANCE.get(dtype, 0.0))
