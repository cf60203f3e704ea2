"""The whole of a compiled program as one page: what was found, decided, emitted, and how exact it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from fxsolve.ir.spec import Block, Repeat, System
from fxsolve.ir.text import count_ops
from fxsolve.report.certified import error_text, solution_text
from fxsolve.report.data import CandidateReport, LoopReport, ReportData
from fxsolve.report.source import loop_line
from fxsolve.report.text import report_text
from fxsolve.report.units import count, digits, place, time_text
from fxsolve.view.drawing import Drawing

MOST_LINES = 2000  # of the emitted code, and of equations: a page is to be opened, not to hold everything
_TEMPLATE = Path(__file__).with_name("page.html.jinja")
_LIGHT, _DARK = (HtmlFormatter(style=style, cssclass="highlight") for style in ("default", "github-dark"))


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
class LoopSection:
    """What the page says of one loop."""

    name: str
    title: str
    code: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[TimedRow, ...]


@dataclass(frozen=True)
class EquationSection:
    """One equation, with its steps as code."""

    name: str
    text: str
    code: Markup


def to_page(report: ReportData, drawing: Drawing | None, code: str) -> str:
    """A page that needs no other file; `drawing` is None where no equations are known, `code` empty where none is."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["short"] = lambda value: f"{value:.1e}" if value else "0"
    shown = code if report.status == "emitted" else ""
    values = {
        "report": report,
        "facts": tuple(_facts(report)),
        "loops": tuple(_loop(loop, report) for loop in report.loops),
        "picture": Markup(drawing.svg) if drawing is not None else "",
        "equations": tuple(_equations(drawing.system)) if drawing is not None else (),
        "stages": _bars(report.seconds),
        "code": _highlighted(shown) if shown else "",
        "code_lines": f"{len(shown.splitlines()):,}",
        "code_style": _code_style(),
        "text": report_text(report, width=110),
    }
    names = {
        "decisions": report.loops,
        "equations": values["picture"],
        "solves": report.runs,
        "certificates": report.certificates,
        "compilation": report.seconds,
        "code": shown,
        "notes": report.notes,
        "text": True,
    }
    sections = [name for name, content in names.items() if content]
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(sections=sections, **values)


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
    is_equal = report.check is not None and report.check.bitwise
    said = {
        "carries": ", ".join(loop.carries),
        "reads": "; ".join(loop.reads),
        "depth": "" if loop.depth is None else f"{loop.depth:,} of {count(loop.length, 'step')}",
        "causal": loop.causal,
        "step": "affine in what it carries" if loop.affine else "",
        "jacobian": loop.jacobian,
        "range": loop.box,
        "solution": solution_text(certificates),
        "error": error_text(certificates, is_equal),
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


def _equations(system: System) -> Iterator[EquationSection]:
    left = MOST_LINES
    for equation in system.equations:
        code = _start_of(equation.body.code.strip("\n"), left)
        left = max(0, left - len(code.splitlines()))
        yield EquationSection(equation.name, _told(equation), _highlighted(code))


def _told(equation: Block | Repeat) -> str:
    ops = count(count_ops(equation.body), "op")
    return f"{count(equation.length, 'step')} of {ops}" if isinstance(equation, Repeat) else ops


def _start_of(code: str, most: int) -> str:
    lines = code.splitlines()
    return code if len(lines) <= most else "\n".join([*lines[:most], f"# {len(lines) - most:,} more lines"])


def _highlighted(code: str) -> Markup:
    return Markup(highlight(_start_of(code, MOST_LINES), PythonLexer(), _LIGHT))


def _code_style() -> Markup:
    light, dark = _LIGHT.get_style_defs(".highlight"), _DARK.get_style_defs(".highlight")
    return Markup(f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}")
