"""Two forms of one program take turns in answering the user's own calls, until it is clear which of them is faster.

A backward pass counts as part of its call. Calls that want gradients, but have no backward pass, tell nothing.
"""

import statistics
from dataclasses import dataclass, field

import torch

from fxsolve.capture.program import Program
from fxsolve.state.processes import in_group

TURN = 4  # calls in a row by one form, of which the first one finds the caches full of the other
FEWEST = 8  # calls by each
MOST = 16
CLEAR = 1.1  # a ratio of the medians that is not taken again
LONGEST = 8 * MOST  # calls, whether they tell how long they took or not
AGAIN = 1000  # calls between two contests
FAR_AHEAD = 2.0  # of the original as the race took it: no call of the original is worth knowing more
BAND = 1.3  # a race on one call that is closer than this, either way, does not decide


@dataclass
class Contest:
    """Seconds of whole calls, reading their arguments included where that is only done for the emitted form; and how
    many have `begun`. A race on one call, where it was not close, took `expected` seconds for the original.
    """

    original: list[float] = field(default_factory=list)
    emitted: list[float] = field(default_factory=list)
    begun: int = 0
    expected: float | None = None

    def is_originals_turn(self) -> bool:
        return (len(self.original) + len(self.emitted)) // TURN % 2 == 1

    @property
    def is_decided(self) -> bool:
        turns = min(len(self.original), len(self.emitted))
        if turns < FEWEST or (turns < MOST and turns % TURN):
            return False
        slow, fast = self.medians()
        return turns >= MOST or not fast / CLEAR < slow < fast * CLEAR

    @property
    def is_given_up(self) -> bool:
        """Whether calls do not tell, or the first ones by the emitted form leave no doubt."""
        is_first_turn = len(self.emitted) >= TURN and not self.original
        return self.begun >= LONGEST or (is_first_turn and self._is_far_ahead())

    def _is_far_ahead(self) -> bool:
        return self.expected is not None and _median(self.emitted) * FAR_AHEAD <= self.expected

    @property
    def is_emitted_faster(self) -> bool:
        slow, fast = self.medians()
        return fast < slow

    def medians(self) -> tuple[float, float]:
        """Seconds of one call of the original, and of the emitted module; the first ones of each turn are left out."""
        return _median(self.original), _median(self.emitted)


def _median(seconds: list[float]) -> float:
    return statistics.median(one for number, one in enumerate(seconds) if number % TURN)


def is_close(original: float, emitted: float) -> bool:
    """Whether a race on one call leaves it to calls to come which form is faster."""
    return original / BAND < emitted < original * BAND


def may_take_turns(program: Program) -> bool:
    """Whether calls to come can be timed, and may decide: groups decide alike."""
    is_alike = in_group() or torch.are_deterministic_algorithms_enabled()
    return not (is_alike or torch.accelerator.is_available())


def may_begin_behind(program: Program) -> bool:
    """Whether calls may also decide where the race on one call was lost: with guards, the next call may end it."""
    return may_take_turns(program) and not program.guards
