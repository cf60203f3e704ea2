"""What the calls of one program have lost, and what was bought for them."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from fxsolve.economy.prices import Prices

FREE = 2  # recordings that are made whatever they cost: two sizes tell what a third one looks like
START_SECONDS = 1.0  # of work that is done before calls have taken as long


@dataclass
class Ledger:
    """Seconds that calls have `lost` so far, against compiled steps that were not bought; the `graphs` that were.

    Calls would have taken `ran` seconds as written, and `worked` went into `recordings` of new signatures.

    Of several threads one may overwrite what another has just added: that only puts a purchase off by a call.
    """

    prices: Prices = field(default_factory=Prices)
    lost: float = 0.0
    graphs: set[Hashable] = field(default_factory=set)
    ran: float = 0.0
    worked: float = 0.0
    recordings: int = 0

    def lose(self, seconds: float) -> None:
        """A call could have saved so much."""
        self.lost += seconds

    def run(self, seconds: float) -> None:
        """A call would have taken so long as it was written."""
        self.ran += seconds

    def work(self, seconds: float) -> None:
        """A new signature was recorded."""
        self.worked += seconds
        self.recordings += 1

    @property
    def recording(self) -> float:
        """Seconds that a recording takes, on average."""
        return self.worked / max(self.recordings, 1)

    def why_not_record(self) -> str:
        """Why a new signature is not worth a recording yet; "" where it is.

        Beyond a start, recordings take no longer than the calls themselves: the total is at most twice theirs.
        """
        if self.recordings < FREE or self.worked <= START_SECONDS + self.ran:
            return ""
        took = f"{self.recordings} recordings took {self.worked:.1f} s, and all calls {self.ran:.1f} s"
        return f"{took}: new kinds of calls are recorded when calls have taken longer"

    def covers(self, price: float) -> bool:
        """Whether calls have lost as much as that."""
        return self.lost >= price

    def pay(self, price: float) -> None:
        """The ski-rental rule: what was paid for has to be lost anew before anything else is bought."""
        self.lost = max(0.0, self.lost - price)
