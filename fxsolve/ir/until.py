"""When the steps of a repeat end before the last one: on a value, or with the stacks that they run along."""

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Along:
    """Steps run along stacks of steps that stopped on a value, from their ends: as many as entries, but for `spare`.

    Step t reads entry index[t] + n - `length` of each `Slices`, where the stacks have n entries, and had `length` then.
    Where no step runs, results are as those of an `Until`.
    """

    length: int
    spare: int
