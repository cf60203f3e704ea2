"""What the calls of one program have lost, and what was bought for them."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from fxsolve.economy.prices import Prices


@dataclass
class Ledger:
    """Seconds that calls have `lost` so far, against compiled steps that were not bought; the `graphs` that were.

    Of several threads one may overwrite what another has just added: that only puts a purchase off by a call.
    """

    prices: Prices = field(default_factory=Prices)
    lost: float = 0.0
    graphs: set[Hashable] = field(default_factory=set)

    def lose(self, seconds: float) -> None:
        """A call could have saved so much."""
        self.lost += seconds

    def covers(self, price: float) -> bool:
        """Whether calls have lost as much as that."""
        return self.lost >= price

    def pay(self, price: float) -> None:
        """The ski-rental rule: what was paid for has to be lost anew before anything else is bought."""
        self.lost = max(0.0, self.lost - price)
