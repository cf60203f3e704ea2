"""What a solver did: counts and residuals, handed to whoever observes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Status = Literal["sequential", "fixed point", "converged", "exact", "finished sequentially"]


@dataclass(frozen=True)
class Solution:
    """One solve of one loop.

    `sweeps` counts evaluations of the body over its steps (a sequential run counts its steps); `prefix` is the
    number of leading steps known to be final; `change` is max |s_new - s_old| of the last sweep, and `rate` what it
    was times the change before it.
    """

    name: str
    method: str
    length: int
    sweeps: int
    status: Status
    change: float = 0.0
    prefix: int = 0
    rate: float | None = None

    @property
    def bound(self) -> float | None:
        """The error that is left if changes go on to shrink by `rate`: rate / (1 - rate) |change|; rounding aside.

        None where no rate was seen.
        """
        if self.status != "converged":
            return 0.0
        if self.rate is None:
            return None
        return math.inf if self.rate >= 1 else self.rate / (1 - self.rate) * self.change


_observers: ContextVar[tuple[list[Solution], ...]] = ContextVar("fxsolve_observers", default=())


@contextmanager
def observe() -> Iterator[list[Solution]]:
    """Collect the `Solution` of every solver call made inside the block, in order."""
    seen: list[Solution] = []
    token = _observers.set((*_observers.get(), seen))
    try:
        yield seen
    finally:
        _observers.reset(token)


def publish(solution: Solution) -> None:
    """Hand `solution` to the observers around this call."""
    for seen in _observers.get():
        seen.append(solution)
