"""What a benchmark says, as data: every number in it was measured."""

import json
import statistics
from dataclasses import asdict, dataclass

from fxsolve.report.data import Check
from fxsolve.report.to_json import finite

FORMAT = "fxsolve-bench-1"
ORIGINAL = "as written"


@dataclass(frozen=True)
class Contender:
    """One form of a program whose results are right: `seconds` of each timed call, and of the first ones.

    `residual` and `bound` are the largest of all its solves, in one more call: max |F(S) - S|, and an estimate of the
    error; None where nothing was solved, or nothing estimated. `check` is the worst of all timed calls, against those
    of the original, and `gradient_check` that of the gradients, relative to the largest of each.
    """

    name: str
    schedule: str
    seconds: tuple[float, ...]
    first_seconds: float
    check: Check
    gradient_check: Check | None = None
    residual: float | None = None
    bound: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class LeftOut:
    """A form that takes no part, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Benchmark:
    """All forms of one program that gave its results, the fastest first, timed in turn; and those that take no part."""

    program: str
    inputs: str
    device: str
    threads: int
    with_gradients: bool
    contenders: tuple[Contender, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def original(self) -> Contender:
        """The program as it was written."""
        return next(one for one in self.contenders if one.name == ORIGINAL)

    def gain(self, contender: Contender) -> float:
        """How many times as fast as the original."""
        return self.original.median / contender.median


def bench_json(benchmark: Benchmark) -> str:
    """JSON with the fields of `Benchmark` as keys; numbers that JSON lacks are written "inf", "-inf" and "nan"."""
    return json.dumps({"format": FORMAT, **finite(asdict(benchmark))}, indent=2, allow_nan=False, ensure_ascii=False)
