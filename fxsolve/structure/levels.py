"""Levels of steps that depend on earlier ones: the depth of a triangular pattern."""


def depth_of_prefixes(latest: list[int]) -> int:
    """The longest chain if step t depends on all steps up to latest[t] < t, on none where that is negative.

    level_t = 1 + max level_s over s <= latest[t]; a bound from above where t depends on only some of these steps.
    """
    highest = [0]  # the highest level of the first k steps
    for step in latest:
        highest.append(max(highest[-1], 1 + highest[step + 1]))
    return highest[-1]
