"""A benchmark as text for a person."""

from collections.abc import Sequence
from functools import partial
from typing import TextIO

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fxsolve.bench.data import ORIGINAL, Benchmark, Contender
from fxsolve.report.data import Check
from fxsolve.report.printed import print_on
from fxsolve.report.tables_text import plain_table
from fxsolve.report.units import count, digits, time_text


def print_bench(benchmark: Benchmark, stream: TextIO) -> None:
    """Print to `stream`: in colour on a terminal, as plain ASCII anywhere else."""
    print_on(stream, partial(bench_table, benchmark))


def bench_table(benchmark: Benchmark, head: box.Box) -> Group:
    """What rich can print: the forms, the fastest first, and those that take no part."""
    parts: list[RenderableType] = [*_heading(benchmark), "", _contenders(benchmark, head)]
    parts += ["", _head("schedules"), *(_named(one.name, one.schedule) for one in benchmark.contenders if one.schedule)]
    if benchmark.left_out:
        parts += ["", _head("left out"), *(_named(one.name, one.reason) for one in benchmark.left_out)]
    return Group(*parts)


def _heading(benchmark: Benchmark) -> list[Text]:
    calls = len(benchmark.original.seconds)
    what = "a call and its backward pass" if benchmark.with_gradients else "a call"
    where = f"{benchmark.device}, {count(benchmark.threads, 'thread')}"
    return [
        Text.assemble(("fxsolve bench: ", "dim"), (benchmark.program, "bold"), f"({benchmark.inputs})"),
        Text(f"{what}: medians of {count(calls, 'call')} of each form in turn, {where}", style="dim"),
    ]


def _contenders(benchmark: Benchmark, head: box.Box) -> Table:
    best = benchmark.contenders[0]
    grid = plain_table(head)
    grid.add_column("form", overflow="fold")
    for name in ("time", "gain", "difference", "error <", "first call"):
        grid.add_column(name, no_wrap=True, justify="right")
    for one in benchmark.contenders:
        grid.add_row(*_cells(one, benchmark), style="green" if one is best else "")
    return grid


def _cells(one: Contender, benchmark: Benchmark) -> Sequence[Text]:
    cells = (
        time_text(one.median),
        f"{digits(benchmark.gain(one))}x",
        "" if one.name == ORIGINAL else _difference(one.check, one.gradient_check),
        "" if one.bound is None else f"{one.bound:.1e}" if one.bound else "0",
        "" if one.name == ORIGINAL else time_text(one.first_seconds),
    )
    return Text(one.name, "bold"), *map(Text, cells)


def _difference(*checks: Check | None) -> str:
    known = [check for check in checks if check is not None]
    return "bitwise" if all(check.bitwise for check in known) else f"{max(one.max_difference for one in known):.1e}"


def _head(text: str) -> Text:
    return Text(text, style="bold cyan")


def _named(name: str, text: str) -> Padding:
    return Padding(Text.assemble((name, "bold"), f": {text}"), (0, 0, 0, 2))
