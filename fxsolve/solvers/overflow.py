"""What overflowed only because maps were composed before they were applied, put right.

A product a_j ... a_i can leave the range of its type although every state is small: with b = 0 the states are all 0,
and inf * 0 = NaN. A finite entry of a scan is never wrong for this reason, so only the others are looked at.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def repair(states: Tensor, advance: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Replace, in place, each non-finite entry of `states` (T, ...) that a step from a finite one does not confirm.

    `advance(t, state)` is the state at t got from the one at t - 1 without composing. A state that really is not
    finite never recovers, so each entry is confirmed once; an entry at t is changed only by those before it.
    The device is read once where every entry is finite.
    """
    finite = states.isfinite()
    if bool(finite.all()):
        return states
    onset = (finite[:-1] & ~finite[1:]).flatten(1).any(1).tolist()
    revived = False
    for t in range(1, len(states)):
        if not (onset[t - 1] or revived):
            continue
        states[t] = torch.where(finite[t], states[t], advance(t, states[t - 1]))
        revived = bool((states[t].isfinite() & ~finite[t]).any())
    return states
