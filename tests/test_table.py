"""One row per loop style and per property of the compiler, each compared with the original on different inputs."""

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.runtime.compiled import Compiled
from tests.table import (
    buffers,
    derivatives,
    effects,
    layers,
    lengths,
    life,
    randomness,
    reads,
    sequences,
    training,
    values,
)
from tests.table.follow import follow
from tests.table.row import Row

PARTS = (sequences, buffers, layers, reads, randomness, effects, values, life, derivatives, training, lengths)
ROWS = [one for part in PARTS for one in part.ROWS]


def names(rows: list[Row]) -> list[str]:
    return [one.name for one in rows]


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({name.lower() for name in names(ROWS)}) == len(ROWS)  # names of files, which may have no case


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_call_gives_and_leaves_what_the_original_does(row: Row) -> None:
    fast = follow(row)
    assert_ran(row, fast)
    assert len(fast.entries) == row.recordings
    assert any(row.note in note for note in ("", *fast.report().notes))
    assert sum(loop.affine for loop in fast.report().loops) == row.affine


def assert_ran(row: Row, fast: Compiled) -> None:
    report, schedule = fast.report(), str(fast.schedule)
    if row.ran == "original":
        assert (schedule, report.status) == ("original", "left alone")
        assert row.reason in report.reason
        assert fast.graph_module is None
        return
    assert report.status == "emitted", report.reason
    assert schedule.startswith("gs(")
    assert fast.graph_module is not None
    if row.ran == "recorded":
        assert report.runs == ()
        return
    trips = tuple(int(text.partition(":")[0]) for text in row.loops)
    if row.trips is None:
        assert tuple(run.length for run in report.runs) == (row.runs or trips)
    methods = {run.method for run in report.runs}
    assert methods
    assert methods <= ({"gauss_seidel", "fixed_point", "until"} if row.schedule == "gs" else {row.schedule})


def test_what_a_program_prints_is_not_printed_by_the_emitted_module(capsys: pytest.CaptureFixture[str]) -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(6):
            x = torch.sin(x) + 1
        print("a call")
        return x

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    fast(torch.ones(3))
    assert "a call" in capsys.readouterr().out
    fast(torch.zeros(3))
    assert capsys.readouterr().out == ""
    assert fast.report().runs
