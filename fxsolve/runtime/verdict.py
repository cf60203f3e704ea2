"""What was decided about a program, in a form that other processes, and files, can hand on."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.solution import Status

TIGHT = 1e-15  # a tolerance of sweeps that are only compared after they have stopped changing, nearly
_LONGEST = 1 << 16  # characters of a schedule
_LONGEST_REASON = 2000


@dataclass(frozen=True)
class Measured:
    """Seconds of one call of the original and of the emitted module, and what compiled steps are predicted to give.

    They save `gain` seconds a call, and cost `price`; both are 0 where nothing is left to be bought. Where it
    `is_close`, calls to come are to decide which form is faster. The recorded run took so many `sweeps`, of all loops;
    where it was decided `by_sweeps`, whatever form is the faster one, other weights may change that.
    """

    original: float | None = None
    emitted: float | None = None
    gain: float = 0.0
    price: float = 0.0
    is_close: bool = False
    sweeps: int = 0
    by_sweeps: bool = False


def sweeps_of(certificates: Iterable[Certificate]) -> int:
    """What solves took that had to settle, and may take more or fewer with other weights."""
    return sum(one.solution.sweeps for one in certificates if one.solution.status in _SETTLED)


_SETTLED: frozenset[Status] = frozenset({"fixed point", "periodic", "converged", "exact"})


@dataclass(frozen=True)
class Verdict:
    """What is to run: a schedule, with the tolerance of its stop tests, or the original, for a `reason`.

    With a reason the `schedule` is the best that was found, if any was. `by` says whose decision this is, "" where it
    is that of this very compilation.
    """

    schedule: str
    tolerance: float | None = None
    reason: str = ""
    by: str = ""
    measured: Measured | None = None

    @property
    def note(self) -> str:
        """Whose decision this is, for the report."""
        return f"decided by {self.by}" if self.by else ""


def read_verdict(data: Any) -> Verdict:
    """The verdict that `asdict` made a dictionary of. Raises `ValueError` for anything else."""
    measured = data.get("measured") if isinstance(data, dict) else None
    if not isinstance(measured, dict):
        raise ValueError("there is no verdict")
    original, emitted, tolerance = map(
        _optional, (measured.get("original"), measured.get("emitted"), data.get("tolerance"))
    )
    gain, price = _number(measured.get("gain")), _number(measured.get("price"))
    schedule, reason = _text(data.get("schedule"), _LONGEST), _text(data.get("reason"), _LONGEST_REASON)
    if not (schedule or reason):
        raise ValueError("nothing is decided")
    sweeps = int(_number(measured.get("sweeps", 0)))
    found = Measured(
        original, emitted, gain, price, measured.get("is_close") is True, sweeps, measured.get("by_sweeps") is True
    )
    return Verdict(schedule, tolerance, reason, measured=found)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f"a number is {value!r:.40}")
    return float(value)


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise ValueError(f"a text is {value!r:.40}")
    return value
