"""What the calls of one program have lost, and what was bought for them."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from fxsolve.economy.prices import Prices

FREE = 2  # recordings that are made whatever they cost: two sizes tell what a third one looks like
_MOST_WANTED = 64  # sets of graphs, of which those that were missed least are forgotten
START_SECONDS = 1.0  # of work that is done before calls have taken as long


@dataclass
class Ledger:
    """Seconds that calls have `lost` so far, against each set of graphs that was not bought; the `graphs` that were.

    Calls would have taken `ran` seconds as written, and `worked` went into `recordings` of new signatures.

    Of several threads one may overwrite what another has just added: that only puts a purchase off by a call.
    """

    prices: Prices = field(default_factory=Prices)
    lost: dict[Hashable, float] = field(default_factory=dict)
    graphs: set[Hashable] = field(default_factory=set)
    ran: float = 0.0
    worked: float = 0.0
    recordings: int = 0

    def lose(self, wanted: Hashable, seconds: float) -> None:
        """A call could have saved so much by the graphs that are `wanted` for it."""
        self.lost[wanted] = self.lost.get(wanted, 0.0) + seconds
        if len(self.lost) > _MOST_WANTED:
            del self.lost[min(self.lost, key=self.lost.__getitem__)]

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

    def covers(self, wanted: Hashable, price: float) -> bool:
        """The ski-rental rule: whether calls have lost as much, for want of these graphs, as they cost."""
        return self.lost.get(wanted, 0.0) >= price

    def pay(self, wanted: Hashable, price: float) -> None:
        """What was paid for has to be lost anew before it is tried once more."""
        self.lost[wanted] = max(0.0, self.lost.get(wanted, 0.0) - price)
