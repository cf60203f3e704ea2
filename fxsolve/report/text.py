"""The report as text for a person."""

import re
from collections.abc import Iterator
from functools import partial
from typing import TextIO

from rich import box
from rich.console import Group, OverflowMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fxsolve.report.certified import SUM_TEXT, error_text, solution_text
from fxsolve.report.data import Check, LoopReport, ReportData
from fxsolve.report.instead import instead_text
from fxsolve.report.most import shown_loops
from fxsolve.report.printed import plain_text, print_on
from fxsolve.report.source import loop_line
from fxsolve.report.structure_text import structure_rows
from fxsolve.report.tables_text import candidates_table, runs_table, stages_table
from fxsolve.report.units import count, digits, place, places, time_text


def report_text(report: ReportData, ascii: bool = False, width: int = 80) -> str:
    """`report` as plain text, `width` columns wide; `ascii` escapes everything outside ASCII."""
    return plain_text(partial(render, report), ascii, width)


def print_report(report: ReportData, stream: TextIO) -> None:
    """Print to `stream`: in colour on a terminal, as plain ASCII anywhere else."""
    print_on(stream, partial(render, report))


def render(report: ReportData, head: box.Box, overflow: OverflowMethod = "ignore") -> Group:
    """The report as something that rich can print; `overflow` is for its one line that does not break."""
    parts: list[RenderableType] = [_title(report), _status(report, overflow), _facts(report)]
    best = "chosen" if report.status == "emitted" else "best"
    shown = shown_loops(report)
    for loop in shown.loops:
        parts += [
            "",
            _loop_title(loop, report.loops),
            _indent(_loop_facts(loop, report)),
            "",
            _indent(candidates_table(loop, best, head)),
        ]
    if shown.rest:
        parts += ["", Text(shown.rest)]
    if report.structure:
        parts += ["", _heading("structure"), _indent(_pairs(structure_rows(report.structure, report.certificates)))]
    if runs := tuple(run for run in report.runs if shown.has(run.loop)):
        parts += ["", _heading("last call"), _indent(runs_table(runs, head))]
    if report.seconds:
        parts += ["", _heading("compilation"), _indent(stages_table(report.seconds, head))]
    if report.notes:
        parts += ["", _heading("notes"), *(_indent(_note(note)) for note in once(report.notes))]
    return Group(*parts)


def _title(report: ReportData) -> Text:
    return Text.assemble(("fxsolve report: ", "dim"), (report.program, "bold"))


def _heading(text: str) -> Text:
    return Text(text, style="bold cyan")


def _indent(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2))


def _status(report: ReportData, overflow: OverflowMethod) -> Text:
    """One unbroken line where it may run over, so that `left alone: REASON` can be searched for."""
    if report.status == "left alone":
        style, is_whole = "yellow", overflow == "ignore"
        return Text(f"left alone: {places(report.reason)}", style=style, no_wrap=is_whole, overflow=overflow)
    return Text(f"emitted{f': {places(report.reason)}' if report.reason else ''}", style="green")


def _facts(report: ReportData) -> Table:
    rows = [
        ("schedule", Text(report.schedule)),
        ("inputs", Text(report.signature)),
        ("recorded", Text(_recorded(report) if report.calls else "")),
        ("one call", _one_call(report)),
        ("pays back", Text(_pay_back(report))),
        ("values", _exactness(report.check, "max difference")),
        ("gradients", _exactness(report.gradient_check, "max relative difference")),
    ]
    return _pairs(rows)


def _pairs(rows: list[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", min_width=len("schedule:"), no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value.plain:
            grid.add_row(Text(f"{name}:"), value)
    return grid


def _recorded(report: ReportData) -> str:
    counts = ((report.calls, "op"), (report.draws, "random draw"), (report.guards, "guard"))
    return ", ".join(count(number, noun) for number, noun in counts)


def _one_call(report: ReportData) -> Text:
    times = (("original", report.original_seconds), ("emitted", report.emitted_seconds))
    text = Text(", ".join(f"{name} {time_text(seconds)}" for name, seconds in times if seconds is not None))
    if report.original_seconds and report.emitted_seconds:
        ratio = report.original_seconds / report.emitted_seconds
        text.append(f": {digits(ratio)}x", style="bold green" if ratio >= 1 else "bold yellow")
    return text


def _pay_back(report: ReportData) -> str:
    if report.pay_back is None or report.original_seconds is None or report.emitted_seconds is None:
        return ""
    spent, saved = sum(seconds for _, seconds in report.seconds), report.original_seconds - report.emitted_seconds
    return f"{time_text(spent)} so far, and {time_text(saved)} saved a call: after {report.pay_back:,.0f} calls"


def _exactness(check: Check | None, measure: str) -> Text:
    if check is None:
        return Text()
    if check.bitwise:
        return Text("bitwise equal to the recorded run", style="green")
    style = "" if check.max_difference <= check.tolerance else "bold red"
    difference = f"{measure} {check.max_difference:.2e} from the recorded run"
    return Text(f"{difference}, tolerance {check.tolerance:.0e}", style=style)


def _loop_title(loop: LoopReport, loops: tuple[LoopReport, ...]) -> Text:
    inside = ", ".join(f"{one.name}: {count(one.length, 'step')}" for one in loops if one.outer == loop.name)
    return Text.assemble(
        ("loop ", "bold cyan"),
        (loop.name, "bold cyan"),
        f": {'' if loop.stops is None else 'at most '}{count(loop.length, 'step')} of {count(loop.calls, 'op')}",
        f" and ({inside})" if inside else "",
        f", in each step of {loop.outer}" if loop.outer else "",
        (_where(loop), "dim"),
    )


def _where(loop: LoopReport) -> str:
    if loop.source:
        line = place(loop_line(loop.source)[0])
        return f", backward of {line}" if loop.backward else f", {line}"
    return ", of the backward pass" if loop.backward else ""


def _loop_facts(loop: LoopReport, report: ReportData) -> Table:
    certificates = [one for one in report.certificates if one.solution.name == loop.name]
    rows = [
        ("code", Text(loop_line(loop.source)[1])),
        ("carries", Text(", ".join(loop.carries))),
        ("reads", Text("\n".join(loop.reads))),
        ("stop", Text("" if loop.stops is None else f"stops when {loop.stops} is read at {place(loop.source)}")),
        ("depth", Text("" if loop.depth is None else f"{loop.depth:,} of {count(loop.length, 'step')}, proved")),
        ("causal", Text(loop.causal, style="" if loop.causal == "proved" else "yellow")),
        ("step", Text("affine in the carry, proved" if loop.affine else "")),
        ("jacobian", Text(f"{loop.jacobian}, proved" if loop.jacobian else "")),
        ("range", Text(f"{loop.box}, proved" if loop.box else "")),
        ("cost", Text(_cost(loop))),
        ("sweeps", Text("" if loop.sweeps is None else f"{loop.sweeps:,} of at most {loop.length:,}")),
        ("instead", Text(instead_text(loop))),
        ("solution", Text(solution_text(certificates))),
        ("error", Text(SUM_TEXT if loop.sums else error_text(certificates, report.is_equal))),
    ]
    return _pairs(rows)


def _cost(loop: LoopReport) -> str:
    costs = (("one step", loop.step_seconds), ("one sweep", loop.sweep_seconds))
    known = [f"{name} {time_text(seconds)}" for name, seconds in costs if seconds is not None]
    return ", ".join([*known, loop.basis]) if known else ""


def once(notes: tuple[str, ...]) -> Iterator[str]:
    """Notes that differ in the numbers of names alone, as those of equal layers do, once, with how many there are."""
    alike: dict[str, list[str]] = {}
    for note in map(places, notes):
        alike.setdefault(re.sub(r"(?<=[a-z_])\d+", "", note), []).append(note)
    for first, *others in alike.values():
        yield f"{first} (and {count(len(others), 'note')} like it)" if others else first


def _note(note: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("-", Text(note))
    return grid
