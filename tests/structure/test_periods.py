"""Runs of a repeated pattern: planted ones are found, and what is found is one."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxsolve.structure.periods import IntArray, PeriodicRun, find_runs

TRIPS, SIZE = 3, 6


def is_run(labels: list[int], start: int, stop: int, period: int) -> bool:
    """The definition, read aloud."""
    return all(labels[i] == labels[i + period] for i in range(start, stop - period))


def best_saving(labels: list[int]) -> int:
    """The most labels that one run saves, (trips - 1) * period, by trying all of them."""
    n = len(labels)
    best = 0
    for period in range(1, n // TRIPS + 1):
        for start in range(n - TRIPS * period + 1):
            stop = start + period
            while stop < n and labels[stop] == labels[stop - period]:
                stop += 1
            trips = (stop - start) // period
            if trips >= TRIPS and stop - start >= SIZE:
                best = max(best, (trips - 1) * period)
    return best


def saving(runs: list[PeriodicRun]) -> int:
    return sum((run.trips - 1) * run.period for run in runs)


def found(labels: list[int]) -> list[PeriodicRun]:
    return find_runs(np.array(labels, np.int64), TRIPS, SIZE)


short = st.lists(st.integers(0, 3), max_size=24)


@settings(max_examples=300, deadline=None)
@given(short)
def test_what_is_found_is_a_run_long_enough_and_runs_do_not_overlap(labels: list[int]) -> None:
    runs = found(labels)
    for run in runs:
        assert 0 <= run.start < run.stop <= len(labels)
        assert is_run(labels, run.start, run.stop, run.period)
        assert run.trips >= TRIPS
        assert run.stop - run.start >= SIZE
    assert all(first.stop <= second.start for first, second in pairwise(runs))


@example([0, 0, 0, 0, 1, 0, 1, 0, 1])  # a stretch too short to count touches the one that counts
@settings(max_examples=300, deadline=None)
@given(short)
def test_as_much_is_saved_as_by_the_best_single_run(labels: list[int]) -> None:
    assert saving(found(labels)) >= best_saving(labels)


@st.composite
def planted(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    """A body repeated between calls that occur nowhere else; the body is no repetition itself."""
    body = draw(st.lists(st.integers(0, 5), min_size=1, max_size=30))
    if any(body == body[:k] * (len(body) // k) for k in range(1, len(body)) if len(body) % k == 0):
        body = [*body, 6]
    trips = draw(st.integers(max(TRIPS, -(-SIZE // len(body))), 20))
    before, after = draw(st.integers(0, 10)), draw(st.integers(0, 10))
    head, tail = list(range(100, 100 + before)), list(range(200, 200 + after))
    return head + body * trips + tail, before, len(body), trips


@settings(max_examples=200, deadline=None)
@given(planted())
def test_a_planted_loop_is_saved_whole(case: tuple[list[int], int, int, int]) -> None:
    labels, start, period, trips = case
    runs = found(labels)
    assert saving(runs) >= (trips - 1) * period
    assert all(start <= run.start and run.stop <= start + trips * period for run in runs)


def test_two_loops_with_work_between_are_both_found() -> None:
    labels = [9, *[1, 2, 3] * 5, 8, 7, *[4, 5] * 6, 9]
    assert found(labels) == [PeriodicRun(1, 16, 3), PeriodicRun(18, 30, 2)]


def test_a_loop_of_the_same_body_after_other_work_is_a_loop_of_its_own() -> None:
    assert found([*[1, 2, 3] * 5, 8, *[1, 2, 3] * 4]) == [PeriodicRun(0, 15, 3), PeriodicRun(16, 28, 3)]


def test_a_run_keeps_the_part_of_a_trip_at_its_end() -> None:
    assert found([1, 2, 3] * 4 + [1, 2]) == [PeriodicRun(0, 14, 3)]


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 1, 2, 3]])
def test_nothing_is_found_where_nothing_repeats_often_enough(labels: list[int]) -> None:
    assert found(labels) == []


def test_a_long_body_is_found_though_short_patterns_abound_in_it() -> None:
    generator = np.random.default_rng(0)
    body = generator.integers(0, 4, 997).tolist()
    assert found(body * 20) == [PeriodicRun(0, 997 * 20, 997)]


def gru_like(trips: int, calls: int) -> IntArray:
    """Labels of a loop of `calls` ops, most of them of few kinds, behind some set-up."""
    body = np.random.default_rng(1).integers(0, 7, calls)
    return np.concatenate((np.arange(50, 150), np.tile(body, trips), np.arange(200, 220)))


def test_seventy_thousand_calls_take_far_less_than_a_second() -> None:
    labels = gru_like(4096, 17)
    start = time.process_time()
    runs = find_runs(labels, TRIPS, SIZE)
    seconds = time.process_time() - start
    assert [(run.period, run.trips) for run in runs] == [(17, 4096)]
    assert seconds < 2.0  # 0.1 s alone; generous, for busy machines


def test_a_row_of_equal_labels_has_period_one_next_to_a_longer_loop() -> None:
    row, loop = [1] * 60, [2, 3, 4, 5, 6, 7] * 40
    found = find_runs(np.array([*row, 9, *loop]), 3, 6)
    assert [(run.period, run.trips) for run in found] == [(1, 60), (6, 40)]
