"""Schedules are written in their compact form, and read back; a slip is shown with its place."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import AllSteps, Block, Invariant, Lag, Repeat, System
from fxsolve.plan.method import Chunks, Steps, steps_of
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.picard import Picard
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.schedule import Apply, GaussSeidel, Schedule
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.verify import verify_schedule
from fxsolve.solvers.stop import Stop
from tests.ir.samples import make_body, systems
from tests.plan.schedules import schedules


def block(name: str, reads: str, writes: str) -> Block:
    return Block(name, make_body(1), (reads,), (writes,))


def repeat(name: str, reads: str, writes: str, length: int) -> Repeat:
    return Repeat(name, make_body(1), length, (Invariant(reads),), (AllSteps(writes, 0),))


SYSTEM = System(
    ("u",),
    (block("block0", "u", "a"), repeat("cell", "a", "b", 784), block("block1", "b", "c"), repeat("cell1", "c", "d", 4)),
    ("d",),
)
CELL, CELL1 = Steps("cell", 0, 784), Steps("cell1", 0, 4)
FIRST, SECOND = Apply("block0"), Apply("block1")


@settings(max_examples=150, deadline=None)
@given(systems(least=1).flatmap(lambda system: st.tuples(st.just(system), schedules(system, fitting=False))))
def test_the_text_of_a_schedule_is_read_back_exactly(pair: tuple[System, Schedule]) -> None:
    system, schedule = pair
    assert parse_schedule(str(schedule), system) == schedule


@settings(max_examples=60, deadline=None)
@given(systems(least=1).flatmap(lambda system: st.tuples(st.just(system), schedules(system))), st.data())
def test_a_schedule_that_names_some_equations_is_completed_to_a_valid_one(
    pair: tuple[System, Schedule], data: st.DataObject
) -> None:
    system, schedule = pair
    dropped = data.draw(st.sets(st.sampled_from([equation.name for equation in system.equations])))
    kept = without(schedule, dropped)
    completed = parse_schedule(str(GaussSeidel(tuple(kept))), system)
    verify_schedule(completed, system)
    assert list(without(completed, dropped)) == kept


def without(schedule: Schedule, names: set[str]) -> list[Schedule]:
    """The leaves of other equations, with their methods."""
    return [leaf for leaf in leaves(schedule) if name_of(leaf) not in names]


def leaves(schedule: Schedule) -> Iterator[Schedule]:
    if not isinstance(schedule, GaussSeidel):
        yield schedule
        return
    for child in schedule.children:
        yield from leaves(child)


def name_of(leaf: Schedule) -> str:
    assert not isinstance(leaf, GaussSeidel)
    return leaf.block if isinstance(leaf, Apply) else steps_of(leaf).repeat


ROW = tuple(Jacobi(Steps("cell", start, min(start + 512, 784))) for start in (0, 512))
EXAMPLES = [
    ("gs(block0, jacobi(cell[0:784]), block1, cell1[0:4])", GaussSeidel((FIRST, Jacobi(CELL), SECOND, CELL1))),
    ("gs(block0, jacobi(cell[0:784:512]), block1, cell1[0:4])", GaussSeidel((FIRST, *ROW, SECOND, CELL1))),
    (
        "gs(block0, jacobi(cell[0:784], atol=1e-06, rtol=0, max_sweeps=40), block1, cell1[0:4])",
        GaussSeidel((FIRST, Jacobi(CELL, Stop(1e-6, 0.0, 40)), SECOND, CELL1)),
    ),
    (
        "gs(block0, jacobi(cell[0:784], atol=0, rtol=0), gs(block1, cell1[0:2], cell1[2:4]))",
        GaussSeidel((FIRST, Jacobi(CELL, Stop()), GaussSeidel((SECOND, Steps("cell1", 0, 2), Steps("cell1", 2, 4))))),
    ),
]


METHODS = [
    ("newton(cell[0:784])", Newton(CELL)),
    ("newton(cell[0:784], jacobian=diagonal)", Newton(CELL, "diagonal")),
    ("newton(cell[0:784], jacobian=diagonal, atol=1e-06, rtol=0)", Newton(CELL, "diagonal", Stop(1e-6))),
    ("picard(cell[0:784], atol=0, rtol=0.5, max_sweeps=3)", Picard(CELL, Stop(0.0, 0.5, 3))),
    ("scan(cell[0:784])", Scan(CELL)),
    ("levels(cell[0:784])", Levels(CELL)),
    ("levels(cell[0:784], depth=12)", Levels(CELL, 12)),
    ("sum(cell[0:784])", Sum(CELL)),
    ("fixed_point(cell[0:784])", FixedPoint(CELL)),
    ("fused(cell[0:784], unroll=4)", Fused(CELL, 4)),
    ("jacobi(cell[0:784], window=64)", Jacobi(CELL, None, 64)),
    ("jacobi(cell[0:784], samples=8:2)", Jacobi(CELL, None, None, (8, 2))),
    ("jacobi(cell[0:784], window=64, atol=0, rtol=0.5)", Jacobi(CELL, Stop(0.0, 0.5), 64)),
    ("jacobi(gs(cell[0:784:32]))", Jacobi(Chunks(CELL, 32))),
]
EXAMPLES += [
    (f"gs(block0, {text}, block1, cell1[0:4])", GaussSeidel((FIRST, method, SECOND, CELL1))) for text, method in METHODS
]
EXAMPLES += [
    (
        f"gs(block0, {name}(cell[0:784:512]{options}), block1, cell1[0:4])",
        GaussSeidel(
            (FIRST, *(method(steps) for steps in (Steps("cell", 0, 512), Steps("cell", 512, 784))), SECOND, CELL1)
        ),
    )
    for name, options, method in (
        ("newton", "", Newton),
        ("newton", ", jacobian=diagonal", lambda steps: Newton(steps, "diagonal")),
        ("picard", "", Picard),
    )
]


@pytest.mark.parametrize(("text", "schedule"), EXAMPLES)
def test_schedules_are_written_in_their_compact_form(text: str, schedule: Schedule) -> None:
    assert str(schedule) == text
    assert parse_schedule(text, SYSTEM) == schedule


SHORTHANDS = [
    ("gs", "gs(block0, cell[0:784], block1, cell1[0:4])"),
    (" gs ", "gs(block0, cell[0:784], block1, cell1[0:4])"),
    ("gs()", "gs(block0, cell[0:784], block1, cell1[0:4])"),
    ("jacobi", "gs(block0, jacobi(cell[0:784]), block1, jacobi(cell1[0:4]))"),
    ("jacobi(cell)", "gs(block0, jacobi(cell[0:784]), block1, cell1[0:4])"),
    ("cell1", "gs(block0, cell[0:784], block1, cell1[0:4])"),
    ("block1", "gs(block0, cell[0:784], block1, cell1[0:4])"),
    ("gs(jacobi(cell1))", "gs(block0, cell[0:784], block1, jacobi(cell1[0:4]))"),
    ("gs(jacobi(cell[0:512]), jacobi(cell[512:784]))", "gs(block0, jacobi(cell[0:784:512]), block1, cell1[0:4])"),
    ("jacobi(cell[0:784:512])", "gs(block0, jacobi(cell[0:784:512]), block1, cell1[0:4])"),
    ("gs(cell, gs(jacobi(cell1)))", "gs(block0, cell[0:784], gs(block1, jacobi(cell1[0:4])))"),
    (
        "jacobi( cell ,\n max_sweeps = 7 )",
        "gs(block0, jacobi(cell[0:784], atol=0, rtol=0, max_sweeps=7), block1, cell1[0:4])",
    ),
]


@pytest.mark.parametrize(("short", "full"), SHORTHANDS)
def test_a_short_text_means_a_complete_schedule(short: str, full: str) -> None:
    assert str(parse_schedule(short, SYSTEM)) == full


@pytest.mark.parametrize("name", ["newton", "picard", "scan", "levels"])
def test_the_name_of_a_method_applies_it_where_steps_read_one_another(name: str) -> None:
    carrying = Repeat("cell", make_body(1), 5, (Lag(0, ("u",)),), (AllSteps("b", 0),))
    system = System(("u",), (carrying, repeat("cell1", "b", "c", 4)), ("c",))
    assert str(parse_schedule(name, system)) == f"gs({name}(cell[0:5]), jacobi(cell1[0:4]))"


def test_a_name_alone_is_the_fixed_point_where_all_steps_are_one_map_and_a_range_is_its_steps() -> None:
    same = Repeat("cell", make_body(1), 5, (Lag(0, ("u",)),), (AllSteps("b", 0),))
    system = System(("u",), (same, repeat("cell1", "b", "c", 4)), ("c",))
    for text in ("gs", "cell", "cell1", "gs(fixed_point(cell), cell1)"):
        assert str(parse_schedule(text, system)) == "gs(fixed_point(cell[0:5]), cell1[0:4])"
    assert str(parse_schedule("cell[0:5]", system)) == "gs(cell[0:5], cell1[0:4])"


def test_a_lone_equation_stays_alone() -> None:
    system = System(("u",), (repeat("cell", "u", "b", 10),), ("b",))
    assert parse_schedule("jacobi(cell)", system) == Jacobi(Steps("cell", 0, 10))
    assert parse_schedule("cell", system) == Steps("cell", 0, 10)


def test_only_adjacent_chunks_of_equal_length_and_stop_are_written_as_a_row() -> None:
    limits = [0, 2, 4, 5, 6, 8]
    row = [Jacobi(Steps("cell", a, b)) for a, b in pairwise(limits)]
    assert str(GaussSeidel(tuple(row))) == "gs(jacobi(cell[0:5:2]), jacobi(cell[5:6]), jacobi(cell[6:8]))"
    row[1] = Jacobi(row[1].child, Stop(0.5))
    assert str(GaussSeidel(tuple(row[:2]))) == "gs(jacobi(cell[0:2]), jacobi(cell[2:4], atol=0.5, rtol=0))"


BAD = [
    ("", 0, "expected gs(...), jacobi(...) or an equation, found the end"),
    ("gs(block0, cel)", 11, "there is no equation 'cel'; did you mean 'cell'?"),
    ("jacobi(block0)", 7, "block0 is a block and has no steps to sweep"),
    ("jacobi(gs(cell))", 14, "expected '[', found )"),
    ("jacobi(gs(cell[0:4]))", 18, "expected ':', found ]"),
    ("newton(gs(cell[0:4:2]))", 7, "there is no equation 'gs'"),
    ("newton(cell, window=3)", 13, "expected atol, rtol, max_sweeps or jacobian, each once, found window"),
    ("newton(cell, jacobian=block)", 22, "expected full or diagonal, found block"),
    ("jacobi(cell, window=0)", 20, "expected at least one step, found 0"),
    ("jacobi(cell, samples=4:0)", 23, "expected at least one sample, found 0"),
    ("picard(cell, window=2)", 13, "expected atol, rtol or max_sweeps, each once, found window"),
    ("scan(cell, atol=1)", 9, "expected ',' or ')', found ,"),
    ("levels(cell, depth=0)", 19, "expected at least one level, found 0"),
    ("fused(cell)", 10, "fused(...) needs unroll="),
    ("fused(cell, unroll=0)", 19, "expected at least one step, found 0"),
    ("sum(cell, unroll=2)", 8, "expected ',' or ')', found ,"),
    ("fused", 5, "expected '(', found the end"),
    ("levels(block0)", 7, "block0 is a block and has no steps to sweep"),
    ("block0[0:1]", 6, "expected the end, found ["),
    ("gs(block0 cell)", 10, "expected ',' or ')', found cell"),
    ("gs(block0,)", 10, "expected gs(...), jacobi(...) or an equation, found )"),
    ("gs(block0", 9, "expected ',' or ')', found the end"),
    ("jacobi(cell[0:785])", 12, "steps 0:785 are not inside 0:784 of cell"),
    ("cell[4:4]", 5, "steps 4:4 are not inside 0:784 of cell"),
    ("cell[0:4:2]", 8, "expected ']', found :"),
    ("cell[0,4]", 6, "expected ':', found ,"),
    ("jacobi(cell[0:4:0])", 16, "expected at least one step, found 0"),
    ("jacobi(cell[0.5:4])", 12, "expected a whole number, found 0.5"),
    ("jacobi(cell[-1:4])", 12, "expected a whole number, found -"),
    ("jacobi(cell, tol=1)", 13, "expected atol, rtol, max_sweeps, window or samples, each once, found tol"),
    ("jacobi(cell, atol=1, atol=1)", 21, "expected atol, rtol, max_sweeps, window or samples, each once, found atol"),
    ("jacobi(cell, atol=x)", 18, "expected a number, found x"),
    ("jacobi(cell, max_sweeps=0)", 24, "expected at least one sweep, found 0"),
    ("jacobi(cell, max_sweeps=1.5)", 24, "expected a whole number, found 1.5"),
    ("gs cell", 3, "expected '(', found cell"),
    ("gs)", 2, "expected '(', found )"),
    ("gs(block0, jacobi)", 17, "expected '(', found )"),
]


@pytest.mark.parametrize(("text", "position", "message"), BAD)
def test_an_error_points_at_the_place_and_names_the_equations(text: str, position: int, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(text, SYSTEM)
    what, shown, caret, known = str(caught.value).split("\n")
    assert what == message
    assert shown == f"  {text}"
    assert caret.index("^") == position + 2
    assert known == "equations: block0, cell[0:784], block1, cell1[0:4]"


def test_a_text_of_several_lines_is_shown_on_one() -> None:
    with pytest.raises(ScheduleError, match=r"\n  gs\(block0,  nothing\)\n {14}\^\n"):
        parse_schedule("gs(block0,\n nothing)", SYSTEM)
