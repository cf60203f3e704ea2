"""When the steps of a repeat end before the last one: on a value, or with the stacks that they run along."""

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Until:
    """Steps run until output number `output` of one is `stops`, a bool in a tensor; that step is the last one.

    None runs where `before` is `stops` already; an empty name stands for a value that lets the first one run. Then
    what would be written at the last step is the newest initial value of the `Lag` that reads the same output. In every
    step the outputs `checks` must be what they are paired with, for other steps would follow otherwise. No fewer than
    `least` and no more than `length` steps are known to be these, and fewer than `fewest` cannot be.
    """

    output: int
    stops: bool
    before: str = ""
    checks: tuple[tuple[int, bool], ...] = ()
    least: int = 0
    fewest: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The values outside the repeat that are read."""
        return (self.before,) if self.before else ()

    def renamed(self, new: Callable[[str], str]) -> "Until":
        return replace(self, before=new(self.before)) if self.before else self


@dataclass(frozen=True)
class Along:
    """Steps run along those of a loop that stopped on a value, from its end: as many as there were, but for `spare`.

    `stack` has an entry for each of these, n in all, where there were `length` when they were recorded. Step t reads
    entry index[t] + n - `length` of each `Slices`, and number t + `length` - n of each `Table`; evenly spaced integers
    go on in front of the first. Where no step runs, results are as those of an `Until`.
    """

    length: int
    spare: int
    stack: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.stack,)

    def renamed(self, new: Callable[[str], str]) -> "Along":
        return replace(self, stack=new(self.stack))
