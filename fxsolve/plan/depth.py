"""The longest chain of steps that read one another: as many sweeps are exact, whatever they start from."""

from fxsolve.ir.spec import Lag, Repeat
from fxsolve.lower.batch import batch
from fxsolve.plan.causality import highest_ranks, reads_buffer
from fxsolve.plan.structural import Known
from fxsolve.structure.levels import depth_of_prefixes

_PASSES = 8


def longest_chain(repeat: Repeat) -> int:
    """A bound from the reads alone: 1 without a carry, ceil(T / d) for a shortest lag d, T where a buffer is read."""
    distances = [read.distance for read in repeat.reads if isinstance(read, Lag)]
    distances += [1] if reads_buffer(repeat) else []
    return -(-repeat.length // min(distances)) if distances else 1


def dependency_depth(repeat: Repeat, structural: Known) -> int:
    """A bound from the pattern in which the steps of a causal repeat read one another, by the ops and zeros of masks.

    level_t = 1 + max level_s over all steps s up to the latest one that step t may depend on, which is exact where
    that step depends on all of them; shallower patterns are recognized up to depth `_PASSES`. Raises `PartitionError`
    if the body cannot be batched.
    """
    if not reads_buffer(repeat):
        return longest_chain(repeat)
    sweep = batch(repeat, repeat.length)
    bound = depth_of_prefixes(highest_ranks(repeat, sweep, structural, list(range(repeat.length))))
    levels = [0] * repeat.length
    for _ in range(min(bound - 1, _PASSES)):
        above = [reached + 1 for reached in highest_ranks(repeat, sweep, structural, levels)]
        if above == levels:
            return max(levels) + 1
        levels = above
    return bound
