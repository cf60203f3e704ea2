"""The tables of the report, and its section on straight-line code, as text."""

from fxsolve.report.data import BlockReport, SkipReport, SolveReport, StructureReport, UnitsReport
from fxsolve.report.printed import plain_text
from fxsolve.report.structure_text import structure_rows
from fxsolve.report.tables_text import candidates_table, runs_table, stages_table
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.solution import Solution
from tests.report.samples import GRU


def cells(made, start: str) -> list[str]:
    """The words of the line that starts so."""
    return next(line.split() for line in plain_text(made).splitlines() if line.strip().startswith(start))


def test_solves_that_ended_alike_share_a_row() -> None:
    runs = (
        SolveReport("cell", "jacobi", 12, 100, "fixed point", 0.0, 100),
        SolveReport("cell", "jacobi", 3, 50, "fixed point", 0.25, 40),
        SolveReport("cell", "jacobi", 7, 50, "exact", 0.0, 50),
    )
    text = plain_text(lambda head: runs_table(runs, head))
    assert text.count("cell") == 2
    assert cells(lambda head: runs_table(runs, head), "cell")[2:7] == ["2", "3-12", "150", "140", "2.5e-01"]


def test_the_seconds_of_all_stages_are_added_up() -> None:
    table = cells(lambda head: stages_table((("record", 0.25), ("emit", 0.5)), head), "total")
    assert table == ["total", "750", "ms"]


def test_what_was_chosen_stands_above_what_was_rejected() -> None:
    (loop,) = GRU.loops
    text = plain_text(lambda head: candidates_table(loop, "best", head))
    assert text.index("best") < text.index("jacobi(cell)") < text.index("rejected")
    assert text.count("rejected") == len(loop.rejected)


STRUCTURE = StructureReport(
    blocks=(BlockReport("net.a", 1, (), 0.001), BlockReport("net.b", 2, ("net.a",), 0.003)),
    depth=2,
    width=1,
    skips=3,
    longest=SkipReport("net.a", "net.c", 2),
    sequential_seconds=0.004,
    chain_seconds=0.002,
    slowest_seconds=0.003,
    units=(UnitsReport(2, 0.002),),
)


def test_the_structure_says_what_units_would_give() -> None:
    rows = {name: str(text) for name, text in structure_rows(STRUCTURE, ())}
    assert rows["blocks"] == "2, 2 deep, at most 1 of one level"
    assert rows["skips"] == "3 reads over more than one level, the longest 2: net.a -> net.c"
    assert rows["chain"] == "2.00 ms for the longest chain, 50% of it"
    assert rows["units"] == "2 units: 2.00 ms, 2.00x"


def test_certificates_of_loops_inside_of_blocks_are_not_those_of_sweeps_over_blocks() -> None:
    certificates = [
        Certificate(Solution(name, "jacobi", 2, 2, "exact", 0.0, 2), 0.0, True, 2, 0.0, "equality")
        for name in ("net", "other")
    ]
    both, own, none = (
        dict(structure_rows(STRUCTURE, given))["solution"].plain for given in (certificates, certificates[:1], ())
    )
    assert both == own != none
