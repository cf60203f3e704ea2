"""Entries are computed when they are final and before they are read, in as few steps as there can be."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.lower.incremental.places import Places
from fxsolve.lower.incremental.regions import Region
from fxsolve.lower.incremental.timing import LATER, Deadlines
from fxsolve.solvers.step_order import Lookahead, OneByOne

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
    places, steps = deadlines(intervals).schedule(OneByOne(LENGTH))
    computed = [{*row} for row in places.table.tolist()]
    for place, (ready, deadline) in enumerate(intervals):
        when = [step for step, row in zip(steps, computed, strict=True) if place in row]
        assert when == [] if ready == 0 else len(when) == 1 and ready <= when[0] <= deadline
    assert len(steps) == fewest([one for one in intervals if one[0] > 0])


@given(INTERVALS, st.integers(1, LENGTH), st.data())
def test_each_place_is_computed_while_it_may_change_whatever_runs_are_left_out(
    intervals: list[tuple[int, int]], width: int, data: st.DataObject
) -> None:
    """Runs go on by `width` at most; one that reads a place, and each one behind it, finds what is final there."""
    order = Lookahead(LENGTH, width)
    places, steps = deadlines(intervals).schedule(order)
    computed = dict(zip(steps, [{*row} for row in places.table.tolist()], strict=True))
    runs = [order.later[0]]
    while runs[-1] < LENGTH - 1:
        runs.append(min(runs[-1] + data.draw(st.integers(1, width)), LENGTH - 1))
    for place, (ready, deadline) in enumerate(intervals):
        for run in [run for run in runs if ready > 0 and deadline <= run]:
            made = [one for one in runs if one <= run and place in computed.get(one, ())]
            assert made, "it is read and was not computed"
            is_final = ready + width - 1 < run  # all that it reads was solved before this run
            assert made[-1] == run or (is_final and ready <= made[-1])


def test_what_nothing_reads_is_not_computed() -> None:
    found = Deadlines(Region((0,), np.array([1, 2])))
    found.read(Places((0,), np.array([[1]])), (3,))
    assert found.deadline.tolist() == [LATER, 3]
    assert found.schedule(OneByOne(LENGTH))[1] == (3,)


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
    assert rows.schedule(OneByOne(LENGTH))[1] == (3, 9)
