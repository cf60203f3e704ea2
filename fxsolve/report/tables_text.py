"""The tables of the report as text."""

from rich import box
from rich.table import Table
from rich.text import Text

from fxsolve.report.data import CandidateReport, LoopReport, SolveReport
from fxsolve.report.units import count, span, time_text


def plain_table(head: box.Box) -> Table:
    """A table without a frame."""
    return Table(box=head, show_edge=False, pad_edge=False, header_style="dim", padding=(0, 1))


def candidates_table(loop: LoopReport, best: str, head: box.Box) -> Table:
    """What was chosen for a loop, or would have been `best`, and what was rejected."""
    table = plain_table(head)
    table.add_column("", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("basis", no_wrap=True)
    table.add_column("backend", no_wrap=True)
    table.add_column("schedule, and why", overflow="fold")
    table.add_row(*_candidate(best, loop.chosen), style="green")
    for candidate in loop.rejected:
        table.add_row(*_candidate("rejected", candidate))
    return table


def _candidate(verdict: str, candidate: CandidateReport) -> tuple[Text, ...]:
    cells = (verdict, time_text(candidate.seconds), candidate.basis, candidate.backend)
    what = Text.assemble((candidate.schedule, "bold"), f"\n{candidate.reason}" if candidate.reason else "")
    return (*(Text(cell) for cell in cells), what)


def runs_table(runs: tuple[SolveReport, ...], head: box.Box) -> Table:
    """Solves of one loop that ended alike share a row."""
    table = plain_table(head)
    table.add_column("loop", overflow="fold")
    table.add_column("method", overflow="fold")
    for numbers in ("solves", "sweeps", "steps", "final"):
        table.add_column(numbers, no_wrap=True, justify="right")
    table.add_column("change", no_wrap=True, justify="right")
    table.add_column("ended", overflow="fold")
    groups: dict[tuple[str, str, str], list[SolveReport]] = {}
    for run in runs:
        groups.setdefault((run.loop, run.method, run.status), []).append(run)
    for (loop, method, status), group in groups.items():
        table.add_row(Text(loop), Text(method), *_solves(group), Text(_ended(status, group)))
    return table


def _ended(status: str, runs: list[SolveReport]) -> str:
    redrawn = [run.redrawn for run in runs if run.redrawn is not None]
    return f"{status}, draws of {count(sum(redrawn), 'step')} changed" if redrawn else status


def _solves(runs: list[SolveReport]) -> tuple[str, ...]:
    steps, final = sum(run.length for run in runs), sum(run.prefix for run in runs)
    change = max(run.change for run in runs)
    residual = "0" if change == 0 else f"{change:.1e}"
    return f"{len(runs):,}", span([run.sweeps for run in runs]), f"{steps:,}", f"{final:,}", residual


def stages_table(seconds: tuple[tuple[str, float], ...], head: box.Box) -> Table:
    """The seconds of each stage of a compilation, and of all."""
    table = plain_table(head)
    table.add_column("stage")
    table.add_column("time", no_wrap=True, justify="right")
    for stage, spent in (*seconds, ("total", sum(spent for _, spent in seconds))):
        table.add_row(Text(stage), time_text(spent), style="bold" if stage == "total" else "")
    return table
