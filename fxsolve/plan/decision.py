"""What was decided for each loop, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fxsolve.plan.method import Part
from fxsolve.plan.purse import Offer
from fxsolve.plan.schedule import Schedule

Basis = Literal["measured", "derived", "not tried"]


@dataclass(frozen=True)
class Candidate:
    """One way to solve a loop; `seconds` is one solve of the whole loop, None where it was ruled out unmeasured."""

    schedule: str
    backend: str
    seconds: float | None
    basis: Basis
    reason: str


@dataclass(frozen=True)
class Choice:
    """The decision for one repeat, with the facts it rests on.

    `parts` are the schedule's leaves for the repeat. `depth` bounds the longest chain of steps that read one another,
    where the pattern of their reads was worked out. `inside` are the choices for the loops that each step runs. It is
    `by_sweeps` where it rests on how many sweeps or steps were needed until nothing changed: other weights may need
    others.
    """

    repeat: str
    parts: tuple[Part, ...]
    chosen: Candidate
    rejected: tuple[Candidate, ...] = ()
    causal: str = ""
    step_seconds: float | None = None
    sweep_seconds: float | None = None
    sweeps: int | None = None
    depth: int | None = None
    inside: tuple["Choice", ...] = ()
    by_sweeps: bool = False

    def all(self) -> Iterator["Choice"]:
        """This choice, and behind it those of all loops inside."""
        yield self
        for inner in self.inside:
            yield from inner.all()


@dataclass(frozen=True)
class Decision:
    """A schedule for a whole system.

    `offers` are compilations that were not made, but may be later. The results of the numbers `turned` do not lie in
    memory as the program's do, unless they are laid out so.
    """

    schedule: Schedule
    choices: tuple[Choice, ...] = ()
    notes: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    turned: tuple[int, ...] = ()
