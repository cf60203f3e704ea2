"""What a block or loop does: its calls by the lines that they were written on, what it reads and writes, its code."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup
from torch import fx

from fxsolve.ir.spec import Block, Repeat, System, outputs_of
from fxsolve.ir.text import count_ops
from fxsolve.report.data import LoopReport
from fxsolve.report.reads import describe_reads, write_text
from fxsolve.report.source import source_line
from fxsolve.report.units import count, place
from fxsolve.view.highlighted import highlighted, start_of
from fxsolve.view.pattern import Pattern, step_pattern

MOST_LINES = 1000  # of the code of all equations: a page is to be opened, not to hold everything
MOST_EQUATIONS = 200
_MOST_LINES_EACH = 20


@dataclass(frozen=True)
class SourceRow:
    """A line of the user's program, and the calls that it made."""

    place: str
    code: str
    ops: str


@dataclass(frozen=True)
class EquationSection:
    """One equation; `pattern` is there for a loop."""

    name: str
    text: str
    rows: tuple[SourceRow, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    pattern: Pattern | None
    code: Markup


def equation_sections(system: System, loops: Mapping[str, LoopReport]) -> Iterator[EquationSection]:
    """The first equations of a system; what is said of their Jacobians comes from the report."""
    left = MOST_LINES
    for equation in system.equations[:MOST_EQUATIONS]:
        code = start_of(equation.body.code.strip("\n"), left)
        left = max(0, left - len(code.splitlines()))
        yield EquationSection(
            name=equation.name,
            text=_told(equation),
            rows=tuple(_source_rows(equation.body)),
            reads=describe_reads(equation) if isinstance(equation, Repeat) else tuple(map(str, equation.inputs)),
            writes=tuple(_writes(equation)),
            pattern=_pattern(equation, loops) if isinstance(equation, Repeat) else None,
            code=highlighted(code),
        )


def _pattern(repeat: Repeat, loops: Mapping[str, LoopReport]) -> Pattern:
    return step_pattern(repeat, loops[repeat.name].jacobian if repeat.name in loops else "")


def _told(equation: Block | Repeat) -> str:
    ops = count(count_ops(equation.body), "op")
    return f"{count(equation.length, 'step')} of {ops}" if isinstance(equation, Repeat) else ops


def _writes(equation: Block | Repeat) -> Iterator[str]:
    if isinstance(equation, Block):
        yield from outputs_of(equation)
        return
    yield from (f"{write.name}: {write_text(write)}" for write in equation.writes)


def _source_rows(body: fx.GraphModule) -> Iterator[SourceRow]:
    """Neighbouring calls of one line together."""
    calls = [node for node in body.graph.nodes if node.op.startswith("call_")]
    groups = [(source, list(nodes)) for source, nodes in groupby(calls, lambda node: node.meta.get("source", ""))]
    for source, nodes in groups[:_MOST_LINES_EACH]:
        yield SourceRow(place(source) if source else "", source_line(source), _ops(nodes))
    if len(groups) > _MOST_LINES_EACH:
        yield SourceRow("", "", f"and {count(sum(len(nodes) for _, nodes in groups[_MOST_LINES_EACH:]), 'more call')}")


def _ops(nodes: list[fx.Node]) -> str:
    """add, mul x 2."""
    names = Counter(str(getattr(node.target, "__name__", node.target)).partition(".")[0] for node in nodes)
    return ", ".join(name if number == 1 else f"{name} x {number}" for name, number in names.items())
