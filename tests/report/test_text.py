"""The report as text: nothing is cut, no number is missing, and ASCII where it is asked for."""

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fxsolve.report.data import CandidateReport, Check
from fxsolve.report.instead import instead_text
from fxsolve.report.report import Report
from fxsolve.report.text import print_report, report_text
from fxsolve.view.page import to_page
from tests.goldens import check_golden
from tests.report.samples import CHUNKS, GRU, LEFT_ALONE

REPORTS = [GRU, CHUNKS, LEFT_ALONE]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.program)
def test_str_is_the_ascii_text(report: Report) -> None:
    assert str(report) == report_text(report, ascii=True)
    assert str(report).isascii()


def test_ascii_escapes_what_a_user_wrote_in_another_alphabet() -> None:
    text = report_text(replace(GRU, program="Läufer", notes=("été.py:3",)), ascii=True)
    assert "L\\xe4ufer" in text
    assert "\\xe9t\\xe9.py:3" in text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("report", [GRU, CHUNKS], ids=lambda report: report.program)
def test_no_line_is_wider_than_asked_and_nothing_is_cut(report: Report, width: int) -> None:
    text = report_text(report, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "..." not in text


def test_every_number_is_printed_in_full_at_80_columns() -> None:
    text = report_text(GRU)
    for number in ("73,731 ops", "7.31 ms", "15.9 ms", "92.5 ms", "12.7x", "2.38e-07", "22.6 us", "610 us", "4,033"):
        assert number in text


def test_chosen_and_rejected_stand_with_their_reasons() -> None:
    text = report_text(GRU)
    assert text.index("chosen") < text.index("fastest of those measured") < text.index("rejected")
    assert text.count("rejected ") == len(GRU.loops[0].rejected)
    assert "slower: 15.9 ms against 7.31 ms" in text


def test_nothing_is_called_chosen_where_the_original_runs() -> None:
    text = report_text(replace(LEFT_ALONE, loops=GRU.loops))
    assert "chosen " not in text
    assert "best " in text


def test_a_schedule_is_not_read_as_markup() -> None:
    assert "jacobi(pixel[0:262])," in report_text(CHUNKS)


@pytest.mark.parametrize("ascii", [True, False])
def test_the_reason_for_leaving_a_program_alone_is_one_unbroken_line(ascii: bool) -> None:
    lines = report_text(LEFT_ALONE, ascii=ascii, width=80).splitlines()
    assert f"left alone: {LEFT_ALONE.reason}" in lines
    assert len(f"left alone: {LEFT_ALONE.reason}") > 80
    assert "schedule: original" in lines


def test_equal_results_are_called_bitwise_equal_and_a_failed_check_shows_both_numbers() -> None:
    assert "bitwise equal to the recorded run" in report_text(CHUNKS)
    assert "max difference 2.38e-07 from the recorded run, tolerance 1e-05" in report_text(GRU)


def test_solves_that_ended_alike_share_a_row() -> None:
    rows = [line.split() for line in report_text(CHUNKS).splitlines()]
    assert ["pixel", "jacobi", "2", "12-16", "523", "523", "0", "fixed", "point"] in rows
    assert ["pixel", "jacobi", "1", "3", "261", "40", "inf", "finished"] in rows


def test_stages_are_summed() -> None:
    rows = [line.split() for line in report_text(GRU).splitlines()]
    assert ["roll", "210", "ms"] in rows
    assert ["total", "7.26", "s"] in rows


def test_a_long_word_is_folded_and_not_lost() -> None:
    schedule = "jacobi(" + "a" * 200 + ")"
    loop = replace(GRU.loops[0], chosen=CandidateReport(schedule, "eager", 1.0, "measured", "b" * 100))
    text = report_text(replace(GRU, loops=(loop,)))
    assert text.count("aa") >= 95
    assert max(map(len, text.splitlines())) <= 80


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, file = Terminal(), io.StringIO()
    print_report(GRU, terminal)
    print_report(GRU, file)
    assert "\x1b[" in terminal.getvalue()
    assert "─" in terminal.getvalue()
    assert file.getvalue() == str(GRU)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("is_terminal", [False, True], ids=["plain", "coloured"])
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.program)
def test_a_report_looks_as_it_did(report: Report, is_terminal: bool, width: int) -> None:
    stream = io.StringIO()
    colours = "standard" if is_terminal else None
    console = Console(file=stream, width=width, color_system=colours, highlight=False, markup=False, emoji=False)
    console.print(report)
    name = f"{report.program}_{width}{'_coloured' if is_terminal else ''}"
    check_golden(f"report/{name}", re.sub(r" +$", "", stream.getvalue(), flags=re.MULTILINE))


def test_notes_that_differ_in_the_numbers_of_names_are_said_once() -> None:
    notes = ("loop0 runs in order (a.py:3)", "loop7 runs in order (a.py:3)", "loop8 runs in order (a.py:4)")
    text = report_text(replace(GRU, notes=notes), width=120)
    assert "- loop0 runs in order (a.py:3) (and 1 note like it)" in text
    assert "- loop8 runs in order (a.py:4)" in text
    assert "loop7" not in text


def test_a_loop_is_named_by_its_own_line_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("def f(x):\n    for t in range(9):\n        for u in x:\n            y = u\n    return g(x)\n")
    (loop,) = GRU.loops

    def said(line: int) -> str:
        return report_text(replace(GRU, loops=(replace(loop, source=f"{file}:{line}"),)), width=200)

    assert f"{file}:3\n  code:     for u in x:" in said(4)
    assert f"{file}:2\n  code:     for t in range(9):" in said(2)
    assert f"{file}:5\n  reads:" in said(5)


def test_an_infinite_bound_does_not_contradict_results_that_are_equal() -> None:
    certificate = replace(GRU.certificates[0], bound=math.inf)
    same = replace(GRU, certificates=(certificate,), check=Check(0.0, bitwise=True, tolerance=1e-5))
    assert "no bound: it may be as large as the values" in report_text(replace(same, check=GRU.check), width=120)
    text = report_text(same, width=120)
    assert "bitwise equal; no bound for other inputs" in text
    assert "as large as the values" not in text


CHECKS = [Check(0.0, True, 1e-5), Check(2e-7, False, 1e-5)]


@pytest.mark.parametrize("gradients", [None, *CHECKS])
@pytest.mark.parametrize("results", CHECKS)
@pytest.mark.parametrize(
    ("basis", "bound"),
    [
        *(("disturbance", bound) for bound in (0.0, 1e-6, math.inf)),
        *(("equality", bound) for bound in (0.0, math.inf, None)),
        *(("in order", bound) for bound in (0.0, None)),
    ],
)
def test_no_line_contradicts_another(results: Check, gradients: Check | None, bound: float | None, basis: str) -> None:
    certificate = replace(GRU.certificates[0], bound=bound, basis=basis)
    report = replace(GRU, check=results, gradient_check=gradients, certificates=(certificate,))
    for said in (report_text(report, width=200), to_page(report, None, "")):
        is_equal = results.bitwise and (gradients is None or gradients.bitwise)
        assert not (is_equal and "as large as the values" in said)
        assert ("in the recorded run, whose results are bitwise equal" in said) == (is_equal and bound == math.inf)
        assert " 0 sweeps" not in said


def test_the_report_says_what_would_change_the_decision() -> None:
    (loop,) = GRU.loops
    assert instead_text(loop) == (
        "gs(cell) if it took 54% less, or if more than 26 sweeps were needed; in order if a step took less than 1.78 us"
    )
    assert "instead:  gs(cell) if it took 54% less" in report_text(GRU, width=120)
    in_order = replace(loop, sweeps=None, chosen=replace(loop.chosen, seconds=0.005), step_seconds=None)
    assert instead_text(in_order).endswith("; sweeps if fewer than 8 were enough")


def test_nothing_is_said_to_change_a_decision_that_costs_did_not_make() -> None:
    (loop,) = GRU.loops
    assert instead_text(replace(loop, rejected=())) == ""
    assert instead_text(replace(loop, chosen=replace(loop.chosen, seconds=None))) == ""
    assert instead_text(replace(loop, chosen=replace(loop.chosen, seconds=1.0))) == ""
