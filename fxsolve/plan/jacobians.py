"""What rules the Jacobian of a step out, and a window of steps with their Jacobians to measure."""

import math
from dataclasses import dataclass

from torch import nn

from fxsolve.errors import PartitionError
from fxsolve.lower.linearize import linearize
from fxsolve.lower.readable import readable
from fxsolve.plan.facts import Facts
from fxsolve.plan.probe import first_window
from fxsolve.plan.trial import Situation, Weighed
from fxsolve.solvers.iterate import Method, State
from fxsolve.solvers.layout import Layout
from fxsolve.solvers.window import Window

MOST_STATE = 16  # entries that depend on one another, unless the Jacobian is diagonal
LINEAR_SECONDS = 5e-3  # loops shorter than this are not worth tracing their Jacobian for many sweeps
SCAN_SECONDS = 5e-4  # and for one scan
JACOBIAN_BYTES = 2 << 30


@dataclass(frozen=True)
class LinearWindow:
    """The first steps of a loop, and the module that gives their results and Jacobians."""

    window: Window
    linear: nn.Module
    layout: Layout


def open_linear(situation: Situation, weighed: Weighed, length: int, least: float = LINEAR_SECONDS) -> LinearWindow:
    """The first `length` steps with their Jacobians, of a loop that takes `least` seconds in order.

    Raises `PartitionError` with what rules these out.

    What is known of the loop is asked first, what is measured already next: tracing the Jacobian takes longest.
    """
    facts = situation.proofs.facts
    if facts.layout is None:
        raise PartitionError(facts.obstacle)
    if obstacle := _obstacle(facts, weighed, least):
        raise PartitionError(obstacle)
    if length * _step_bytes(facts) > JACOBIAN_BYTES:
        raise PartitionError(f"the Jacobians of all steps hold more than {JACOBIAN_BYTES >> 30} GiB")
    linear = readable(linearize(situation.repeat, facts.layout, length))
    return LinearWindow(first_window(situation.repeat, situation.values, length), linear, facts.layout)


def longest_window(situation: Situation) -> int:
    """As many steps as the memory for their Jacobians allows, in windows of equal length."""
    length = situation.repeat.length
    windows = max(1, -(-length * _step_bytes(situation.proofs.facts) // JACOBIAN_BYTES))
    return -(-length // windows)


def count_steps(method: Method, state: State, limit: int) -> int | None:
    """The number of sweeps after which the test of a method holds, None if it does not within `limit`."""
    while (verdict := method.terminate(state)) is None and len(state.sizes) < limit:
        state = method.step(state)
    return len(state.sizes) if verdict in ("exact", "converged") else None


def _obstacle(facts: Facts, weighed: Weighed, least: float) -> str:
    """What rules the Jacobian out before it is traced."""
    if facts.size > MOST_STATE:
        return f"{facts.size} entries of the state depend on one another, more than {MOST_STATE}"
    if weighed.total < least:
        return f"in order, the loop takes less than {least * 1e3:g} ms"
    if weighed.sweep is not None and 2 * weighed.sweep > weighed.total:
        return "two sweeps alone cost more than all steps in order"
    return ""


def _step_bytes(facts: Facts) -> int:
    """Memory of the Jacobian of one step."""
    return 0 if facts.layout is None else math.prod(facts.layout.batch) * facts.size**2 * 8
