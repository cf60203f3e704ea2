"""When an iteration may end."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Stop:
    """Stop once every entry satisfies |s_new - s_old| <= atol + rtol |s_new|, or after `max_sweeps`.

    With `atol == rtol == 0` the test is bitwise equality. Integer and boolean states always use equality.
    `max_sweeps=None` allows as many sweeps as there are steps, after which Jacobi is exact
    (Song et al. 2021, proposition 1).
    """

    atol: float = 0.0
    rtol: float = 0.0
    max_sweeps: int | None = None


_TOLERANCE = {torch.float64: 1e-12, torch.complex128: 1e-12, torch.float32: 1e-6, torch.complex64: 1e-6}


def default_stop(dtype: torch.dtype) -> Stop:
    """The stop test used when the user names none: a few ulps for float32 and float64, equality otherwise."""
    tolerance = _TOLERANCE.get(dtype, 0.0)
    return Stop(tolerance, tolerance)
