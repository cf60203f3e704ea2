"""Entries are computed when they are final and before they are read, in as few steps as there can be."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.lower.incremental.places import Places
from fxsolve.lower.incremental.regions import Region
from fxsolve.lower.incremental.timing import LATER, Deadlines

LENGTH = 6
INTERVALS = st.lists(
    st.tuples(st.integers(0, LENGTH - 1), st.integers(0, LENGTH - 1)).map(lambda pair: tuple(sorted(pair))),
    min_size=1,
    max_size=7,
)


def deadlines(intervals: list[tuple[int, int]]) -> Deadlines:
    ready, deadline = (np.array(column) for column in zip(*intervals, strict=True))
    found = Deadlines(Region((0,), ready))
    found.deadline = deadline
    return found


def fewest(intervals: list[tuple[int, int]]) -> int:
    """The least number of steps that meet all intervals, by trying."""
    for count in range(LENGTH + 1):
        for steps in itertools.combinations(range(LENGTH), count):
            if all(any(low <= step <= high for step in steps) for low, high in intervals):
                return count
    raise AssertionError


@given(INTERVALS)
def test_each_place_is_computed_once_in_time_and_in_as_few_steps_as_can_be(intervals: list[tuple[int, int]]) -> None:
    places, steps = deadlines(intervals).schedule()
    computed = [{*row} for row in places.table.tolist()]
    for place, (ready, deadline) in enumerate(intervals):
        when = [step for step, row in zip(steps, computed, strict=True) if place in row]
        assert when == [] if ready == 0 else len(when) == 1 and ready <= when[0] <= deadline
    assert len(steps) == fewest([one for one in intervals if one[0] > 0])


def test_what_nothing_reads_is_not_computed() -> None:
    found = Deadlines(Region((0,), np.array([1, 2])))
    found.read(Places((0,), np.array([[1]])), (3,))
    assert found.deadline.tolist() == [LATER, 3]
    assert found.schedule()[1] == (3,)


def test_a_read_before_a_value_is_final_sets_no_deadline() -> None:
    found = Deadlines(Region((0,), np.array([1, 4])))
    found.read_all((2, 3, 5))
    assert found.deadline.tolist() == [2, 5]


def test_a_row_of_which_nothing_is_read_before_its_end_is_computed_as_a_whole() -> None:
    ready = np.array([[1, 2, 3], [4, 5, 6]])
    found = Deadlines(Region((0, 1), ready.reshape(-1)))
    found.read(Places((0, 1), np.arange(6)[None]), (9,))
    found.read(Places((0, 1), np.array([[0, 1, 2]])), (3,))
    rows = found.along_fewer((2, 3))
    assert rows.region.dims == (0,)
    assert rows.region.ready.tolist() == [3, 6]
    assert rows.schedule()[1] == (3, 9)
