"""Which step of a loop a call of the backward pass differentiates, by autograd's numbers of its nodes."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from fxsolve.capture.tape import NUMBER
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.slots import IntArray, PeriodicWindow

NOWHERE = -1  # in the place of a step


@dataclass(frozen=True)
class StepOrigins:
    """The step of a loop behind every call, `NOWHERE` for those of the forward pass and of what is no step.

    A custom function numbers its node before calls that are not recorded: what it is behind is the next call.
    """

    steps: IntArray

    def falling(self, window: PeriodicWindow) -> IntArray | None:
        """For each call of a step of `window`, behind which step it is in the first one.

        None unless there are some, and each step is behind that in front of the last one's.
        """
        steps = self.steps[window.start : window.stop].reshape(window.trips, window.period)
        known = (steps != NOWHERE).any(0)
        falls = steps[0] - np.arange(window.trips)[:, None] == steps
        return steps[0] if known.any() and falls[:, known].all() else None


def origins_of(calls: Calls, front: PeriodicWindow) -> StepOrigins:
    """What calls of the backward pass differentiate of the steps of `front`."""
    forward = [(node.meta.get(NUMBER), k) for k, node in enumerate(calls.nodes) if "backward" not in node.meta]
    known = [(number, k) for number, k in forward if number is not None]
    numbers = np.maximum.accumulate([number for number, _ in known]).tolist() if known else []
    steps: IntArray = np.full(len(calls.nodes), NOWHERE, np.int64)
    for k, node in enumerate(calls.nodes):
        number = node.meta.get(NUMBER)
        if "backward" in node.meta and number is not None and (at := bisect_left(numbers, number)) < len(known):
            place = known[at][1] - front.start
            steps[k] = place // front.period if 0 <= place < front.period * front.trips else NOWHERE
    return StepOrigins(steps)
