"""Schedules: in which order the equations of a system are solved, as nested values."""

from dataclasses import dataclass

from fxsolve.solvers.stop import Stop


class _Text:
    """The text form is what a schedule prints as."""

    def __str__(self) -> str:
        from fxsolve.scheduler.text import to_text

        return to_text(self)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Apply(_Text):
    """Evaluate one block."""

    block: str


@dataclass(frozen=True)
class Steps(_Text):
    """Steps start <= t < stop of a repeat: the leaf that a method acts on."""

    repeat: str
    start: int
    stop: int


@dataclass(frozen=True)
class GaussSeidel(_Text):
    """Solve the children in order, each with the newest values of those before it."""

    children: tuple["Schedule", ...]


@dataclass(frozen=True)
class Jacobi(_Text):
    """Sweep all steps of the child at once from the previous sweep's values until `stop`."""

    child: Steps
    stop: Stop | None = None


Schedule = Apply | Steps | GaussSeidel | Jacobi
