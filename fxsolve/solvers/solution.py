"""What a solver did: counts and changes, handed to whoever observes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from fxsolve.solvers.context import during

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


@contextmanager
def observe() -> Iterator[list[Solution]]:
    """Collect the `Solution` of every solver call made inside the block, in order."""
    seen: list[Solution] = []
    with during(_observers, (*_observers.get(), seen)):
        yield seen


def untold() -> AbstractContextManager[None]:
    """Keep the solves inside from all observers."""
    return during(_observers, ())


def tell(solution: Solution) -> None:
    """Hand `solution` to the observers around this call."""
    for seen in _observers.get():
        seen.append(solution)
