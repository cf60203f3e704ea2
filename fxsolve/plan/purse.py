"""Who pays for compiling steps: at the first call within a budget, or later, when calls have lost as much."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

from fxsolve.economy.prices import Prices


@dataclass(frozen=True)
class GraphRequest:
    """A graph of so many `ops` that may be compiled for a loop: equal graphs are compiled once.

    The loop takes `total` seconds a run in order, and `best` as it is solved best without; compiled, it is predicted to
    take `compiled`.
    """

    loop: str
    graph: Hashable
    ops: int
    total: float
    best: float
    compiled: float

    @property
    def gain(self) -> float:
        """The seconds that it is predicted to save in each run."""
        return max(0.0, min(self.best, self.total) - self.compiled)


@dataclass(frozen=True)
class Offer:
    """A compilation that was not made: what it is predicted to save in each run, and to cost, in seconds."""

    loop: str
    graph: Hashable
    gain: float
    price: float


@dataclass
class Purse(ABC):
    """`graphs` are compiled already, or paid for; `unrolls` has the steps in one compiled call for each kind of loop.

    Loops that take less than `least_seconds` are not looked at, and no graph is compiled that is not won back in so
    many `runs`. The `prices` predict what compiled steps take.
    """

    least_seconds: ClassVar[float]
    runs: ClassVar[int]
    prices: Prices = field(default_factory=Prices)
    graphs: set[Hashable] = field(default_factory=set)
    unrolls: dict[Hashable, int] = field(default_factory=dict)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What may be bought later."""
        return ()

    @abstractmethod
    def refuse(self, asked: GraphRequest) -> str:
        """Why the graph is not compiled now; "" where it may be."""

    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What the report says of loops that were left out."""
