"""Where a decision comes from: from elsewhere, where it was made before, or from what is measured here and now."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar, final

from fxsolve.ir.fingerprint import Fingerprint
from fxsolve.runtime.verdict import Verdict

Made = TypeVar("Made")


class Source(ABC):
    """A place where the decision about one system may be found, and is made known."""

    @abstractmethod
    def find(self) -> Verdict | None:
        """What was decided before."""

    @abstractmethod
    def publish(self, own: Verdict) -> Verdict:
        """Make a decision known; returns the one that holds."""

    def disown(self, error: Exception) -> None:
        """What was found does not fit this program. Raises the error where it has to."""
        raise error

    def forget(self) -> None:  # noqa: B027
        """What was made known turned out to be wrong; by default nobody was told but this process."""

    def notes(self) -> tuple[str, ...]:
        """What the report says of what was found, or not."""
        return ()


@final
class Nowhere(Source):
    """Nothing was decided before, and nobody is told."""

    def find(self) -> None:
        return None

    def publish(self, own: Verdict) -> Verdict:
        return own

    def disown(self, error: Exception) -> NoReturn:
        raise error


def settle(
    source: Source, decide: Callable[[], tuple[Verdict, Made]], adopt: Callable[[Verdict], Made]
) -> tuple[Verdict, Made]:
    """The decision, and what came of it: one that was found, if it fits, or that of this process."""
    first = source.find()
    if first is not None:
        try:
            return first, adopt(first)
        except Exception as error:
            source.disown(error)
    own, made = decide()
    verdict = source.publish(own)
    return verdict, made if replace(verdict, by="") == own else adopt(verdict)


@dataclass(frozen=True)
class Decided:
    """The system as digests, the tolerance of its stop tests, and the `source` that the decision is kept in."""

    graph: Fingerprint
    tolerance: float | None
    source: Source
