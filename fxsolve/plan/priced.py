"""What an automatic choice asks of a method: what it costs, and whether other options of it are faster."""

from abc import ABC, abstractmethod

from fxsolve.plan.trial import Situation, Trial, Weighed


class Priced(ABC):
    """A method with a price; one without is never weighed for a recurrence."""

    @classmethod
    @abstractmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        """What it costs to solve a recurrence so, measured, or why that is ruled out; nothing where nobody asks."""


class Refined(ABC):
    """A method with options that are worth trying once it is the best of all."""

    @abstractmethod
    def refine(self, situation: Situation, best: Trial) -> Trial | None:
        """The `best` trial of all, which is of this method, with other options, where these may be faster."""
