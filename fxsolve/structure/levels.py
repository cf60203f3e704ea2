"""Levels of steps that depend on earlier ones: the depth of a triangular pattern."""

from collections.abc import Sequence


def depth_of_prefixes(latest: Sequence[int]) -> int:
    """The longest chain if step t depends on all steps up to latest[t] < t, on none where that is negative.

    level_t = 1 + max level_s over s <= latest[t]; a bound from above where t depends on only some of these steps.
    """
    highest = [0]  # the highest level of the first k steps
    for step in latest:
        highest.append(max(highest[-1], 1 + highest[step + 1]))
    return highest[-1]


def level_bounds(latest: Sequence[int], widest: int) -> tuple[int, ...]:
    """(0, b_1, ..., T): no step t with b_k <= t < b_k+1 depends on another one of these, if on none past latest[t].

    These are `depth_of_prefixes` runs of steps, and more where one would be longer than `widest`.
    """
    bounds = [0]
    for step, reached in enumerate(latest):
        if reached >= bounds[-1] or step - bounds[-1] == widest:
            bounds.append(step)
    return (*bounds, len(latest))
