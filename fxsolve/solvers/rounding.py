"""Changes that may be rounding: sweeps that go to and fro, and one behind values that were computed in order."""

from dataclasses import replace

import torch

from fxsolve.solvers.iterate import State, pairs_of
from fxsolve.solvers.norms import Change, has_size, measure, steps_within
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Unknowns

_ROUNDING = 64  # eps


def watch_floor(state: State, anchor: Unknowns | None, stop: Stop, stride: int = 4) -> State:
    """Find out, every `stride` sweeps that shrank no change, whether they are rounding; `anchor` is the last but these.

    Rounding goes to and fro: over several sweeps it adds up to no more than one or two of its changes, where a slow
    convergence adds up to all of them.
    """
    if len(state.sizes) % stride:
        return replace(state, anchor=anchor)
    found = replace(state, anchor=state.values)
    recent = state.sizes[-stride:]
    is_stalled = anchor is not None and recent[-1] > recent[0] / 2
    if anchor is None or not is_stalled or not (stop.atol or stop.rtol) or max(recent) > _rounding(state.values):
        return found
    drift = measure(pairs_of(state.values, anchor), Stop()).size
    is_floor = drift <= 2 * max(recent) and _settled(state.values, anchor)
    return replace(found, floor=_measure_all(state, stop)) if is_floor else found


def _settled(values: Unknowns, anchor: Unknowns) -> bool:
    """Whether every step was known to half its size: where the front passes a small step, that changes as a whole."""
    pairs = [(new, anchor[number]) for number, new in values.items() if new.numel() > 0]
    return all(bool(steps_within(*pair, Stop(rtol=0.5)).all()) for pair in pairs)


def changed_by_rounding(state: State, stop: Stop) -> bool:
    """Whether the last sweep changed no more than rounding may, and little enough for a test with tolerances."""
    if not state.change.finite or state.change.size > _rounding(state.values):
        return False
    return _measure_all(state, stop).converged


def steps_but_for_rounding(state: State) -> int:
    """The number of leading steps in which the last sweep changed no more than rounding may."""
    rounding = _rounding(state.values)
    pairs = list(pairs_of(state.values, state.point))
    same = torch.stack([steps_within(new, old, Stop(atol=rounding, rtol=0)) for new, old in pairs if new.numel() > 0])
    return int(same.all(0).long().cumprod(0).sum())


def _measure_all(state: State, stop: Stop) -> Change:
    """Half the last change, by the size of all steps together: rounding to and fro changes by twice what it errs."""
    twice = replace(stop, atol=2 * stop.atol, rtol=2 * stop.rtol)
    return measure(((new[None], old[None]) for new, old in pairs_of(state.values, state.point)), twice)


def _rounding(values: Unknowns) -> float:
    """A change that rounding alone may make of the largest entry; 0 where any value is discrete."""
    if not all(map(has_size, values.values())):
        return 0.0
    return max(_ROUNDING * torch.finfo(v.dtype).eps * float(v.abs().max()) for v in values.values() if v.numel())
