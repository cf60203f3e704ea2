"""Where no version answers a call, the original does, and what that settles is noted once it has not raised."""

from typing import Any

import pytest

from fxsolve.report.report import Report
from fxsolve.runtime.attempts import MISS, Attempts, noted, run_of
from fxsolve.runtime.cache import MAX_MISSES, MAX_RECORDINGS, Cache, Group, Variant
from fxsolve.runtime.entries import Entry
from fxsolve.runtime.gradients import Original
from fxsolve.solvers.solution import Solution

CALL: Any = None  # of a call that no version looks at


def program(x: int) -> int:
    return x + 1


def attempts() -> Attempts:
    return Attempts(program, Cache(4), "first")


def left_alone(reason: str) -> Variant:
    return Variant(Entry(Report("program", "left alone", reason)))


def test_a_signature_without_versions_is_to_be_recorded() -> None:
    tried = attempts()
    assert tried.reuse(Group(), CALL, Original(program, (1,), {})) is MISS
    assert tried.latest is None


def test_a_retired_signature_is_answered_by_the_original() -> None:
    tried, group = attempts(), Group()
    group.retire(left_alone("as it is"))
    for k in range(3):
        assert tried.reuse(group, CALL, Original(program, (k,), {})) == k + 1
    assert tried.latest is group.fallback
    assert group.fallback is not None
    assert group.fallback.calls == 3
    assert group.misses == 0


@pytest.mark.parametrize("group", [Group(misses=MAX_MISSES - 1), Group(recordings=MAX_RECORDINGS)])
def test_a_signature_that_nothing_fits_is_given_up(group: Group) -> None:
    tried = attempts()
    tried.show(left_alone("before"))
    assert tried.reuse(group, CALL, Original(program, (1,), {})) == 2
    assert group.retired
    assert group.fallback is not None
    assert group.fallback.report.reason.startswith("the tensors that a proof used changed before ")
    assert tried.latest is group.fallback


def test_a_call_that_raises_settles_nothing() -> None:
    tried, group = attempts(), Group(misses=MAX_MISSES - 1)
    with pytest.raises(TypeError):
        tried.reuse(group, CALL, Original(program, ("1",), {}))
    assert not group.retired
    assert (group.misses, tried.latest) == (MAX_MISSES - 1, None)


def test_a_note_stands_once_in_a_report() -> None:
    entry = Entry(Report("program", "emitted", notes=("a",)))
    assert noted(noted(entry, "b"), "b").report.notes == ("a", "b")
    assert entry.report.notes == ("a",)


def test_a_report_tells_of_a_solve_what_the_solver_does() -> None:
    solution = Solution("loop0", "jacobi", 12, 3, "solved", 0.5, 7)
    told = run_of(solution)
    assert (told.sweeps, told.length, told.status, told.prefix) == (3, 12, "solved", 7)
