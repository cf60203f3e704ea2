"""What a solver did: counts and changes, handed to whoever observes."""

from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from fxsolve.solvers.context import During

Status = Literal["sequential", "stopped", "fixed point", "periodic", "converged", "exact", "finished sequentially"]


@dataclass(frozen=True)
class Solution:
    """One solve of one loop.

    `sweeps` counts evaluations of the body over its steps (a sequential run counts its steps); `prefix` is the
    number of leading steps known to be final; `change` is max |s_new - s_old| of the last sweep. Of a start that was
    computed, `redrawn` counts the steps whose discrete values sweeps changed; None where it has none.
    """

    name: str
    method: str
    length: int
    sweeps: int
    status: Status
    change: float = 0.0
    prefix: int = 0
    redrawn: int | None = None


_observers: ContextVar[tuple[list[Solution], ...]] = ContextVar("fxsolve_observers", default=())


class Observing:
    """What `observe` returns; no generator, as `During`."""

    def __enter__(self) -> list[Solution]:
        seen: list[Solution] = []
        self._token = _observers.set((*_observers.get(), seen))
        return seen

    def __exit__(self, *_: object) -> None:
        _observers.reset(self._token)


def observe() -> Observing:
    """Collect the `Solution` of every solver call made inside the block, in order."""
    return Observing()


def untold() -> AbstractContextManager[None]:
    """Keep the solves inside from all observers."""
    return During(_observers, ())


def tell(solution: Solution) -> None:
    """Hand `solution` to the observers around this call."""
    for seen in _observers.get():
        seen.append(solution)
