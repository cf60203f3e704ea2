"""Levels are runs of steps that do not depend on one another, as few as the longest chain is long."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fxsolve.structure.levels import depth_of_prefixes, level_bounds

PATTERNS = st.lists(st.integers(0, 10**6), min_size=1, max_size=30).map(
    lambda drawn: [number % (step + 1) - 1 for step, number in enumerate(drawn)]
)


@given(PATTERNS)
def test_there_are_as_many_levels_as_the_longest_chain_has_steps(latest: list[int]) -> None:
    assert len(level_bounds(latest, len(latest))) - 1 == depth_of_prefixes(latest)


@given(PATTERNS, st.integers(1, 30))
def test_no_step_depends_on_one_of_its_own_level(latest: list[int], widest: int) -> None:
    bounds = level_bounds(latest, widest)
    assert (bounds[0], bounds[-1]) == (0, len(latest))
    for start, stop in pairwise(bounds):
        assert 0 < stop - start <= widest
        assert all(latest[step] < start for step in range(start, stop))
