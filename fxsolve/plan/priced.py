"""Methods that an automatic choice weighs."""

from abc import ABC, abstractmethod

from fxsolve.plan.trial import Situation, Trial, Weighed


class Priced(ABC):
    """A method with a price; one without is never tried unless a schedule names it."""

    @classmethod
    @abstractmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        """What it costs to solve a recurrence so, measured, or why that is ruled out; nothing where nobody asks."""

    def refine(self, situation: Situation, best: Trial) -> Trial | None:
        """The `best` trial of all, which is of this method, with other options, where these may be faster."""
        return None
