"""Who reads whom, as matrices."""

from fxsolve.ir.spec import AllSteps, Lag, Prefix, Slices
from fxsolve.view.pattern import MOST, step_pattern, system_pattern
from tests.view.samples import gru, repeat, seven


def cells(path: str) -> set[tuple[int, int]]:
    """(row, column) of every mark."""
    marks = (one.removesuffix("h1v1h-1z").split() for one in path.split("M")[1:])
    return {(int(row), int(column)) for column, row in marks}


def test_a_row_is_an_equation_and_a_mark_what_it_reads() -> None:
    pattern = system_pattern(gru())
    assert cells(pattern.cells) == {(1, 0), (2, 1)}
    assert cells(pattern.diagonal) == {(0, 0), (1, 1), (2, 2)}
    assert pattern.title == "equations: 3 x 3"
    assert all(row > column for row, column in cells(system_pattern(seven()).cells))


def test_steps_read_those_so_many_before_them() -> None:
    loop = repeat("loop", 5, {"h": Lag(0, ("a", "b"))}, (AllSteps("hs", 0),))
    pattern = step_pattern(loop, "diagonal")
    assert cells(pattern.cells) == {(2, 0), (3, 1), (4, 2)}
    assert pattern.note == "each mark is a Jacobian, diagonal"


def test_a_prefix_reads_all_before_it() -> None:
    loop = repeat("loop", 4, {"x": Prefix(0, "x0", 0, (0, 1, 2, 3))}, (AllSteps("xs", 0),))
    assert cells(step_pattern(loop, "").cells) == {(i, j) for i in range(4) for j in range(i)}


def test_a_row_of_a_large_matrix_stands_for_many_steps() -> None:
    loop = repeat("loop", 4800, {"h": Lag(0, ("h0",))}, (AllSteps("hs", 0),))
    pattern = step_pattern(loop, "")
    assert pattern.size == MOST
    assert pattern.title == f"loop: 4,800 x 4,800, shown by {MOST} x {MOST}"
    steps = range(MOST)
    assert cells(pattern.cells) == {(k, k) for k in steps} | {(k, k - 1) for k in steps[1:]}


def test_where_no_step_reads_another_it_says_so() -> None:
    loop = repeat("loop", 3, {"x": Slices("x", 0, (0, 1, 2))}, (AllSteps("ys", 0),))
    assert step_pattern(loop, "").note == "no step reads another"
