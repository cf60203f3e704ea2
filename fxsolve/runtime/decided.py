"""What a decision was about, and where it is kept for others."""

from dataclasses import dataclass

from fxsolve.ir.fingerprint import Fingerprint
from fxsolve.runtime.sources import Source


@dataclass(frozen=True)
class Decided:
    """The system as digests, the tolerance of its stop tests, and the `source` that the decision is kept in."""

    graph: Fingerprint
    tolerance: float | None
    source: Source
