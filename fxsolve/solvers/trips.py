"""How many steps a loop that stops on a value is known to take as they were recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from fxsolve.errors import GuardError
from fxsolve.solvers.context import During

_FURTHER = 4  # times as many steps as are known are tried, and
_LONGER = 256  # so many more
_CONFIRMED = 8  # trials of other numbers that went well, after which those between are known


class TripsError(GuardError):
    """A loop takes fewer or more steps than it is known to take; these may be tried if it `may_be`."""

    def __init__(self, message: str, source: str, may_be: bool) -> None:
        super().__init__(message, source=source)
        self.may_be = may_be


@dataclass
class Trips:
    """From `least` to `most` steps are the recorded ones; others may be tried next to the program.

    A program may do something else behind so many steps, or stop there: no recording shows what it did not come to.
    Nor does one of more steps show what it does behind fewer: numbers between those that were recorded or tried are
    tried too, until that went well often enough. Fewer than `fewest` cannot be run. Where a trial failed, fewer or more
    steps, or that number of them, are not tried again.
    """

    least: int
    most: int
    fewest: int = 0
    may_be_fewer: bool = True
    may_be_more: bool = True
    seen: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    confirmed: int = 0

    def __post_init__(self) -> None:
        self.seen.update(range(self.least, self.most + 1))

    def is_known(self, count: int) -> bool:
        """Whether so many steps are those of the program."""
        is_between = self.least <= count <= self.most and count not in self.failed
        return count in self.seen or (is_between and self.confirmed >= _CONFIRMED)

    def limit(self) -> int:
        """The most steps to be run now."""
        if not self.may_be_more or not _trials.get():
            return self.most
        return _FURTHER * self.most + _LONGER

    def check(self, name: str, source: str, count: int, is_over: bool) -> None:
        """Raise `TripsError` where `count` steps are not known, and not tried now; `is_over` if they are all."""
        if self.is_known(count) if is_over else count < self.limit():
            return
        trials, may_be = _trials.get(), self._may_be(count, is_over)
        if may_be and trials:
            trials[-1].tried.append((self, count + (not is_over)))
            if is_over:
                return
        message = f"{name} takes {self._kind(count, is_over)} steps than the {self.least} to {self.most} that are known"
        raise TripsError(message, source, may_be)

    def _may_be(self, count: int, is_over: bool) -> bool:
        if is_over and count < self.least:
            return self.may_be_fewer and count >= self.fewest
        return count not in self.failed if is_over and count <= self.most else self.may_be_more

    def _kind(self, count: int, is_over: bool) -> str:
        if is_over and count <= self.most:
            return "fewer" if count < self.least else "other numbers of"
        return "more"


@dataclass
class TripsTrial:
    """Loops that took numbers of steps that are not known."""

    tried: list[tuple[Trips, int]] = field(default_factory=list)

    def succeed(self) -> None:
        """The program did the same."""
        for trips, count in self.tried:
            trips.confirmed += count not in trips.seen
            trips.seen.add(count)
            trips.least, trips.most = min(trips.least, count), max(trips.most, count)

    def fail(self) -> None:
        """It did something else, or the trial came to no end."""
        for trips, count in self.tried:
            trips.may_be_fewer = trips.may_be_fewer and count >= trips.least
            trips.may_be_more = trips.may_be_more and count <= trips.most
            if trips.least <= count <= trips.most:
                trips.failed.add(count)


_trials: ContextVar[tuple[TripsTrial, ...]] = ContextVar("fxsolve_trips", default=())


@contextmanager
def trying() -> Iterator[TripsTrial]:
    """Loops inside may take numbers of steps that are not known; the trial tells which."""
    trial = TripsTrial()
    with During(_trials, (*_trials.get(), trial)):
        yield trial
