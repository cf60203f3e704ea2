"""What the stages make of the first call of every row of the table; it is recorded once for all that is asked of it."""

import pytest

from fxsolve.capture.program import Program
from fxsolve.errors import CaptureError
from fxsolve.ir.nested import every_repeat
from fxsolve.loops.partition import Partition
from tests.goldens import check_golden, check_names
from tests.loops.between_passes import check_every_pass
from tests.table.follow import describe, found
from tests.table.row import Row
from tests.table.texts import text_of
from tests.test_table import PARTS

FOLDER = "table"
NAMED = {f"{part.__name__.rpartition('.')[2]}/{row}": row for part in PARTS for row in part.ROWS}
Found = tuple[Program, Partition] | CaptureError


@pytest.fixture(scope="module", params=NAMED, ids=NAMED)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def row(name: str) -> Row:
    return NAMED[name]


@pytest.fixture(scope="module")
def result(row: Row) -> Found:
    return found(row)


def test_the_stages_find_what_the_row_says(row: Row, result: Found) -> None:
    if isinstance(result, CaptureError):
        assert row.ran == "original", str(result)
        assert row.reason in str(result)
        return
    program, parts = result
    facts = (len(program.guards), len(program.draws), len(program.mutations), len(program.stores.writes))
    assert facts == (row.guards, row.draws, row.mutations, row.stores)
    if row.trips is None:
        assert tuple(map(describe, parts.system.repeats)) == row.loops
    else:
        assert set(row.trips) <= {repeat.length for repeat in every_repeat(parts.system)}


def test_the_stages_say_what_is_kept(name: str, row: Row, result: Found) -> None:
    with row.mode():
        check_golden(f"{FOLDER}/{name}", text_of(result))


def test_every_pass_leaves_the_program_of_the_row(row: Row, result: Found) -> None:
    if isinstance(result, CaptureError):
        return
    program, parts = result
    # Rolled, a backward pass reads stacks, and the products of matrices that lie elsewhere round differently.
    rounding = 1e-14 if _differentiates(program) else 0.0
    with row.mode():
        check_every_pass(program, parts.system, max(row.tolerance, rounding) if row.grad else rounding)


def _differentiates(program: Program) -> bool:
    """Whether a backward pass runs inside of the program."""
    return any("_backward" in str(node.target) for node in program.module.graph.nodes)


def test_every_kept_text_is_of_a_row() -> None:
    check_names(FOLDER, set(NAMED))
