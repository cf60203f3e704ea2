"""The whole of a compiled program as one page: what was found, decided, emitted, and how exact it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fxsolve.report.certified import SUM_TEXT, error_text, solution_text
from fxsolve.report.data import CandidateReport, LoopReport, ReportData
from fxsolve.report.instead import instead_text
from fxsolve.report.most import shown_loops
from fxsolve.report.source import loop_line
from fxsolve.report.structure_text import structure_rows
from fxsolve.report.text import once, report_text
from fxsolve.report.units import count, digits, place, places, time_text
from fxsolve.view.convergence import convergence
from fxsolve.view.costs import timelines
from fxsolve.view.details import MOST_EQUATIONS, MOST_LINES, equation_sections
from fxsolve.view.drawing import Drawing
from fxsolve.view.highlighted import code_style, highlighted, start_of
from fxsolve.view.pattern import system_pattern

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class TimedRow:
    """A row with a time, and a bar as long as the time is of the longest."""

    schedule: str
    time: str
    percent: float
    basis: str = ""
    backend: str = ""
    reason: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class BlockRow:
    """A block of straight-line code; `percent` is its time beside that of the slowest."""

    name: str
    level: int
    reads: str
    time: str
    percent: float


@dataclass(frozen=True)
class StructureSection:
    """What is said of straight-line code, and its blocks, without `more` of them."""

    said: tuple[tuple[str, str], ...]
    blocks: tuple[BlockRow, ...]
    more: int


@dataclass(frozen=True)
class LoopSection:
    """What the page says of one loop."""

    name: str
    title: str
    code: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[TimedRow, ...]


def to_page(report: ReportData, drawing: Drawing | None, code: str) -> str:
    """A page that needs no other file; `drawing` is None where no equations are known, `code` empty where none is."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["short"] = lambda value: f"{value:.1e}" if value else "0"
    shown = shown_loops(report)
    report = replace(
        report,
        loops=shown.loops,
        runs=tuple(run for run in report.runs if shown.has(run.loop)),
        certificates=tuple(one for one in report.certificates if shown.has(one.solution.name)),
    )
    values = {
        "report": report,
        "rest": shown.rest,
        "reason": places(report.reason),
        "facts": tuple(_facts(report)),
        "loops": tuple(_loop(loop, report) for loop in report.loops),
        "timelines": timelines(report),
        "traces": tuple(convergence(trace) for trace in report.traces if trace.count > 1),
        **_drawn(report, drawing),
        "structure": _structure(report),
        "notes": tuple(once(report.notes)),
        "stages": _bars(report.seconds),
        **_emitted(code if report.status == "emitted" else ""),
        "code_style": code_style(),
        "text": report_text(report, width=110),
    }
    names = {
        "decisions": report.loops,
        "costs": values["timelines"],
        "convergence": values["traces"],
        "equations": drawing,
        "structure": values["structure"],
        "solves": report.runs,
        "certificates": report.certificates,
        "compilation": report.seconds,
        "code": values["code"],
        "notes": report.notes,
        "text": True,
    }
    sections = [name for name, content in names.items() if content]
    return environment.get_template("page.html.jinja").render(sections=sections, **values)


def _drawn(report: ReportData, drawing: Drawing | None) -> dict[str, Any]:
    """The picture, what lies behind each card of it, and who reads whom."""
    if drawing is None:
        return {"picture": "", "equations": (), "pattern": None}
    loops = {loop.name: loop for loop in report.loops}
    return {
        "picture": _picture(drawing),
        "equations": tuple(equation_sections(drawing.system, loops)),
        "pattern": system_pattern(drawing.system),
    }


def _picture(drawing: Drawing) -> Markup:
    equations = len(drawing.system.equations)
    too_many = f"{equations:,} equations are too many for a picture in a page; draw().save(...) draws them."
    return Markup(drawing.svg) if equations <= MOST_EQUATIONS else Markup("<p>{}</p>").format(too_many)


def _emitted(code: str) -> dict[str, Any]:
    lines = f"{len(code.splitlines()):,}"
    return {"code": highlighted(start_of(code, MOST_LINES)) if code else "", "code_lines": lines}


def _structure(report: ReportData) -> StructureSection | None:
    if report.structure is None:
        return None
    structure = report.structure
    said = tuple((name, text.plain) for name, text in structure_rows(structure, report.certificates) if text.plain)
    slowest = structure.slowest_seconds or 1.0
    blocks = tuple(
        BlockRow(one.name, one.level, ", ".join(one.reads), time_text(one.seconds), round(100 * one.seconds / slowest))
        for one in structure.blocks[:MOST_EQUATIONS]
    )
    return StructureSection(said, blocks, len(structure.blocks) - len(blocks))


def _facts(report: ReportData) -> Iterator[tuple[str, str]]:
    yield "schedule", report.schedule
    if report.signature:
        yield "inputs", report.signature
    if report.calls:
        yield "recorded", f"{count(report.calls, 'op')}, {count(report.draws, 'random draw')}"
    if report.emitted_seconds is not None:
        yield "one call", time_text(report.emitted_seconds)
    if report.emitted_seconds and report.original_seconds:
        ratio = digits(report.original_seconds / report.emitted_seconds)
        yield "as written", f"{time_text(report.original_seconds)}, {ratio} times as long"
    for name, check in (("values", report.check), ("gradients", report.gradient_check)):
        if check is not None:
            difference = f"{check.max_difference:.1e} from the recorded run, of {check.tolerance:.0e} allowed"
            yield name, "bitwise equal to the recorded run" if check.bitwise else difference


def _loop(loop: LoopReport, report: ReportData) -> LoopSection:
    line, code = loop_line(loop.source)
    kind = ", of the backward pass" if loop.backward else ""
    where = f", {place(line)}" if line else ""
    title = f"{loop.name}: {count(loop.length, 'step')} of {count(loop.calls, 'op')}{kind}{where}"
    return LoopSection(loop.name, title, code, tuple(_loop_facts(loop, report)), _candidates(loop))


def _loop_facts(loop: LoopReport, report: ReportData) -> Iterator[tuple[str, str]]:
    certificates = [one for one in report.certificates if one.solution.name == loop.name]
    said = {
        "carries": ", ".join(loop.carries),
        "reads": "; ".join(loop.reads),
        "depth": "" if loop.depth is None else f"{loop.depth:,} of {count(loop.length, 'step')}",
        "causal": loop.causal,
        "step": "affine in what it carries" if loop.affine else "",
        "jacobian": loop.jacobian,
        "range": loop.box,
        "instead": instead_text(loop),
        "solution": solution_text(certificates),
        "error": SUM_TEXT if loop.sums else error_text(certificates, report.is_equal),
    }
    yield from ((name, text) for name, text in said.items() if text)


def _candidates(loop: LoopReport) -> tuple[TimedRow, ...]:
    longest = max((one.seconds or 0.0 for one in (loop.chosen, *loop.rejected)), default=0.0)

    def row(one: CandidateReport, chosen: bool) -> TimedRow:
        percent = round(100 * (one.seconds or 0.0) / longest, 1) if longest else 0.0
        return TimedRow(one.schedule, time_text(one.seconds), percent, one.basis, one.backend, one.reason, chosen)

    return (row(loop.chosen, True), *(row(one, False) for one in loop.rejected))


def _bars(seconds: Sequence[tuple[str, float]]) -> tuple[TimedRow, ...]:
    longest = max((spent for _, spent in seconds), default=0.0) or 1.0
    return tuple(TimedRow(stage, time_text(spent), round(100 * spent / longest, 1)) for stage, spent in seconds)
