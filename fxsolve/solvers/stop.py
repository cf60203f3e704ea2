"""When an iteration may end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Stop:
    """Stop once every entry satisfies c |s_new - s_old| <= atol + rtol |s_new|, or after `max_sweeps`.

    c = max(1, rho / (1 - rho)) turns a change into the error left behind, for changes that shrink by the factor rho
    from sweep to sweep (`tighten`). With `atol == rtol == 0` the test is bitwise equality. Integer and boolean states
    always use equality. `max_sweeps=None` allows as many sweeps as there are steps, after which Jacobi is exact
    (Song et al. 2021, proposition 1).
    """

    atol: float = 0.0
    rtol: float = 0.0
    max_sweeps: int | None = None


def tighten(stop: Stop, sizes: Sequence[float]) -> Stop:
    """The test of the next change itself, by the rate at which the last ones, `sizes`, shrank.

    Where no rate is known, or they did not shrink, only equality will do: many small changes add up.
    """
    if len(sizes) < 2 or not sizes[-1] < sizes[-2]:
        return replace(stop, atol=0.0, rtol=0.0)
    factor = max(1.0, sizes[-1] / (sizes[-2] - sizes[-1]))
    return replace(stop, atol=stop.atol / factor, rtol=stop.rtol / factor)


_TOLERANCE = {torch.float64: 1e-12, torch.complex128: 1e-12, torch.float32: 1e-6, torch.complex64: 1e-6}


def default_stop(dtype: torch.dtype) -> Stop:
    """The stop test used when the user names none: a few ulps for float32 and float64, equality otherwise."""
    tolerance = _TOLERANCE.get(dtype, 0.0)
    return Stop(tolerance, tolerance)
