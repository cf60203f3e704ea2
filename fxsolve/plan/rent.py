"""Rent before you buy: what needs seconds of compilation is priced at first, and made when calls have lost as much."""

from dataclasses import dataclass, field
from typing import ClassVar, final

from fxsolve.plan.purse import GraphRequest, Offer, Purse
from fxsolve.torch_compat.compilers import is_started

# Loops this short, and compilations that so many runs win back, are worth it for a program that is called often.
LEAST_SECONDS = 2e-4
MOST_RUNS = 20_000


@final
@dataclass
class Rent(Purse):
    """Compiles nothing, but what was compiled before, and keeps the `offers`."""

    least_seconds: ClassVar[float] = LEAST_SECONDS
    runs: ClassVar[int] = MOST_RUNS
    made: list[Offer] = field(default_factory=list)

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(self.made)

    def refuse(self, asked: GraphRequest) -> str:
        if asked.graph in self.graphs:
            return ""
        is_offered = any(one.graph == asked.graph for one in self.made)
        price = self.prices.compiling(asked.ops) + (0.0 if self.made or is_started() else self.prices.start_seconds)
        self.made.append(Offer(asked.loop, asked.graph, asked.gain, 0.0 if is_offered else price))
        if not asked.gain:
            return f"compiled steps are predicted to take {1e3 * asked.compiled:.3g} ms, no less than without"
        runs = price / asked.gain
        saved = f"would save about {1e3 * asked.gain:.2g} ms a call"
        return f"{saved}, and compiling takes about {price:.1f} s: it pays after {runs:,.0f} calls"

    def notes(self) -> tuple[str, ...]:
        return ()


@final
@dataclass
class Paid(Purse):
    """Compiles whatever is asked for: calls have lost as much as that costs."""

    least_seconds: ClassVar[float] = LEAST_SECONDS
    runs: ClassVar[int] = MOST_RUNS

    def refuse(self, asked: GraphRequest) -> str:
        self.graphs.add(asked.graph)
        return ""

    def notes(self) -> tuple[str, ...]:
        return ()
