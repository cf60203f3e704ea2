"""Every loop has a row that says what was found and decided, those inside of others behind these."""

from collections.abc import Callable

import pytest
from torch import Tensor

from fxsolve.ir.nested import every_repeat
from fxsolve.ir.text import count_ops
from fxsolve.report.data import LoopReport
from fxsolve.report.loops import loop_reports
from fxsolve.stages import capture, partition, schedule
from tests.loops import small
from tests.loops.small import N, T, numbers


def rows_of(program: Callable[[Tensor], Tensor], text: str) -> tuple[LoopReport, ...]:
    recorded = capture(program, numbers(T, N))
    parts = partition(recorded)
    decided = schedule(recorded, parts, text, "eager")
    rows = loop_reports(parts.system, decided)
    repeats = list(every_repeat(parts.system))
    assert [row.name for row in rows] == [repeat.name for repeat in repeats]
    for row, repeat in zip(rows, repeats, strict=True):
        assert (row.length, row.source, row.calls) == (repeat.length, repeat.source, count_ops(repeat.body))
        choice = next(choice for choice in decided.choices if choice.repeat == row.name)
        assert (row.chosen.schedule, row.chosen.reason) == (choice.chosen.schedule, choice.chosen.reason)
        assert len(row.rejected) == len(choice.rejected)
    return rows


@pytest.mark.parametrize("text", ["gs", "jacobi"])
def test_a_recurrence_has_the_facts_of_its_steps(text: str) -> None:
    (row,) = rows_of(small.loop, text)
    assert row.name in row.chosen.schedule
    assert ("jacobi" in row.chosen.schedule) == (text == "jacobi")
    assert row.depth == T
    assert not row.affine
    assert row.jacobian == "diagonal"
    assert (row.outer, row.sums, row.backward) == ("", False, False)


def test_a_loop_in_the_steps_of_another_names_that_one() -> None:
    rows = rows_of(small.layers_over_time, "gs")
    outer = next(row for row in rows if not row.outer)
    assert any(row.outer == outer.name for row in rows)


def test_a_sum_that_is_solved_at_once_says_so() -> None:
    rows = rows_of(small.with_a_sum, "scan")
    assert [row.sums for row in rows] == [row.name.endswith("sums") for row in rows]
    assert any(row.sums for row in rows)
    assert not any(row.sums for row in rows_of(small.with_a_sum, "gs"))
