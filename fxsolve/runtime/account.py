"""What the calls of one program cost, lost and may spend."""

from dataclasses import dataclass, field

from fxsolve.economy.ledger import Ledger
from fxsolve.economy.prices import Prices
from fxsolve.economy.store import read_prices
from fxsolve.economy.work import counts_work
from fxsolve.plan.budget import Budget
from fxsolve.plan.purse import Purse
from fxsolve.plan.rent import Rent
from fxsolve.runtime.cache import Group, Variant
from fxsolve.runtime.entries import Entry, Options
from fxsolve.state.processes import in_group

_FEW = 50  # times as long as a decision took, calls run until it costs little to decide anew


@dataclass(frozen=True)
class Account:
    """The `ledger` of a program, under the options that the user has set for it."""

    options: Options
    ledger: Ledger = field(default_factory=lambda: Ledger(Prices() if counts_work() else read_prices()))

    def purse(self) -> Purse:
        """What pays for compiling at a first call."""
        if self.options.mode == "default" and self._is_automatic():
            return Rent(self.ledger.prices, set(self.ledger.graphs))
        return Budget()

    def why_not_record(self) -> str:
        """Why a new signature is not recorded yet; what the user asks for by name is."""
        return self.ledger.why_not_record() if self._is_automatic() else ""

    def ran(self, variant: Variant, seconds: float, calls: int = 1) -> None:
        """Calls were answered by a variant, each in so many seconds; as written, they may have taken longer."""
        self.lose(variant, calls)
        self.ledger.run(calls * max(seconds, variant.report.original_seconds or 0.0))
        if variant.lasts is not None:
            variant.lasts -= calls * seconds

    def holds(self, entry: Entry, seconds: float, before: float | None) -> float | None:
        """For how many seconds of calls it is not asked again whether to leave a program alone.

        That is twice as long as `before`: to spend the `seconds` of a decision again costs a fiftieth of what calls
        take, and less and less. A group of processes, whose clocks differ, asks once.
        """
        if not (entry.by_sweeps and seconds and self._is_automatic()):
            return None
        return max(_FEW * seconds, 2 * (before or 0.0))

    def lose(self, variant: Variant | None, calls: int = 1) -> None:
        """Compiled steps may have answered so many calls faster."""
        prospect = variant.entry.prospect if variant is not None else None
        if prospect is not None and calls:
            self.ledger.lose(prospect.graphs, calls * prospect.saving)

    def is_due(self, group: Group) -> bool:
        """Whether calls that want the same compiled steps as such a call have lost as much as these would cost."""
        prospect = group.usual.entry.prospect if group.usual is not None else None
        return prospect is not None and self.ledger.covers(prospect.graphs, prospect.price)

    def _is_automatic(self) -> bool:
        """Whether the clock of this process may decide."""
        return self.options.is_automatic and not in_group()
