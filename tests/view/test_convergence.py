"""How a loop converged, and what it costs, as shapes of a page."""

import math
import re
from dataclasses import replace

from fxsolve.report.data import CandidateReport
from fxsolve.solvers.trace import SweepTrace, Trace
from fxsolve.view.convergence import BROKEN, FINAL, TALL, WIDE, convergence
from fxsolve.view.costs import timelines
from tests.report.samples import GRU, LEFT_ALONE

FIRST = SweepTrace(1, 0, 8, 2, (0.0, 1.0, 0.5, 1e-3))
SECOND = SweepTrace(2, 2, 8, 8, (0.0, math.inf, 0.0))


def widths(path: str) -> list[float]:
    return [float(one) for one in re.findall(r"h([\d.]+)v", path)]


def test_every_sweep_is_a_row_as_wide_as_the_loop_and_neighbours_alike_are_one_cell() -> None:
    shapes = convergence(Trace("cell", 8, 2, (FIRST, SECOND)))
    assert shapes.title == "cell: 2 sweeps of 8 steps"
    cells = dict(shapes.cells)
    assert sum(width for path in cells.values() for width in widths(path)) == 2 * WIDE
    assert widths(cells[BROKEN]) == [WIDE / 4]
    assert widths(cells[FINAL]) == [WIDE / 4, WIDE / 2, WIDE / 4]  # two steps that are solved, and two that stay


def test_the_front_is_how_far_steps_are_exact() -> None:
    shapes = convergence(Trace("cell", 8, 2, (FIRST, SECOND)))
    assert [float(point.split(",")[0]) for point in shapes.front.split()] == [0.0, WIDE / 4, WIDE]
    assert [float(point.split(",")[0]) for point in shapes.in_order.split()] == [0.0, WIDE / 8, WIDE / 4]


def test_a_sweep_that_changed_nothing_lies_at_the_lower_edge() -> None:
    rows = (FIRST, replace(SECOND, changes=(0.0, 0.0, 0.0)))
    shapes = convergence(Trace("cell", 8, 2, rows))
    assert [float(point.split(",")[1]) for point in shapes.residual.split()] == [0.0, 100.0]
    assert (shapes.largest, shapes.least) == ("1.0e+00", "0")


def test_many_sweeps_fit_into_the_picture_and_the_title_says_how_many_are_shown() -> None:
    rows = tuple(replace(FIRST, number=k + 1) for k in range(100))
    shapes = convergence(Trace("cell", 8, 1000, rows))
    assert shapes.height == TALL
    assert shapes.title.endswith("1,000 sweeps of 8 steps, 100 of them shown")


def test_timelines_are_on_one_scale() -> None:
    in_order, chosen = timelines(GRU)
    assert (in_order.name, chosen.name) == ("in order", "as chosen")
    assert [bar.percent for bar in in_order.bars] == [100.0]
    assert [bar.percent for bar in chosen.bars] == [round(100 * 0.00731 / (22.6e-6 * 4096), 2)]
    assert (in_order.measured, chosen.measured) == ("92.5 ms", "7.31 ms")


def test_loops_inside_of_others_are_part_of_these() -> None:
    inner = replace(GRU.loops[0], name="inner", outer="cell")
    assert timelines(replace(GRU, loops=(*GRU.loops, inner))) == timelines(GRU)


def test_where_no_cost_is_known_there_is_no_timeline() -> None:
    unknown = replace(GRU.loops[0], chosen=CandidateReport("gs(cell)", "eager", None, "", ""), step_seconds=None)
    assert timelines(replace(GRU, loops=(unknown,))) == ()
    assert timelines(LEFT_ALONE) == ()
