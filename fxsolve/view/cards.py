"""What a picture of a system says: one card per equation, a row per read and per write."""

from dataclasses import dataclass

from torch import fx

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import (
    Block,
    Equation,
    FinalBuffer,
    Lag,
    Prefix,
    Read,
    Repeat,
    System,
    Write,
    outputs_of,
)
from fxsolve.ir.text import count_ops
from fxsolve.report.reads import argument_names, ends_text, how_text, kind_of, write_text
from fxsolve.report.units import count, place


@dataclass(frozen=True)
class Row:
    """One read or write: `reads` and `writes` name values of other cards, `given` is a label for program inputs.

    `value` is printed at the right edge, where lines to and from other cards end; `hidden` are the values that a row
    writes in place of rows that were folded into it.
    """

    name: str
    kind: str
    text: str
    value: str
    given: str = ""
    reads: tuple[str, ...] = ()
    writes: str = ""
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arc:
    """A loop edge inside a card, from the row that writes to the row that reads it steps later."""

    writer: int
    reader: int
    label: str


@dataclass(frozen=True)
class Card:
    """One equation, called `name` (the outputs have none); `copies` is how many equal steps it stands for.

    `how` says what solves it, where that is known.
    """

    title: str
    note: str
    copies: int
    rows: tuple[Row, ...]
    arcs: tuple[Arc, ...] = ()
    name: str = ""
    how: str = ""


def make_cards(system: System) -> tuple[Card, ...]:
    """One card per equation, and a last one for the outputs of the system."""
    written = {name for equation in system.equations for name in outputs_of(equation)}
    cards = [_card(equation, written) for equation in system.equations]
    results = tuple(_input_row(f"{i}", "output", name, written) for i, name in enumerate(system.outputs))
    return (*cards, Card("outputs", count(len(results), "value"), 1, results))


def _card(equation: Equation, written: set[str]) -> Card:
    if isinstance(equation, Repeat):
        return _repeat_card(equation, written)
    return _block_card(equation, written)


def _block_card(block: Block, written: set[str]) -> Card:
    names = [node.name for node in block.body.graph.nodes if node.op == "placeholder"]
    reads = [_input_row(name, "read", value, written) for name, value in zip(names, block.inputs, strict=True)]
    results = zip(_result_names(block.body), block.outputs, strict=True)
    writes = [Row(name, "write", "", value, writes=value) for name, value in results]
    return Card(block.name, _ops_text(block.body), 1, (*reads, *writes), name=block.name)


def _input_row(name: str, kind: str, value: str, written: set[str]) -> Row:
    if value in written:
        return Row(name, kind, "", value, reads=(value,))
    return Row(name, kind, "", "", given=value)


def _repeat_card(repeat: Repeat, written: set[str]) -> Card:
    names = argument_names(repeat)
    plain = [i for i, read in enumerate(repeat.reads) if not isinstance(read, Lag | Prefix)]
    # the last output is read first, so that loop edges nest and do not cross
    loops = sorted(set(range(len(repeat.reads))) - set(plain), key=lambda i: -_output_of(repeat.reads[i]))
    order = [*plain, *loops]
    reads = [_read_row(names[i], repeat.reads[i], written) for i in order]
    outputs, writes = _write_rows(repeat)
    writers = {output: len(reads) + row for row, output in reversed(list(enumerate(outputs)))}
    arcs = tuple(
        Arc(writers[_output_of(repeat.reads[i])], len(plain) + place, _arc_label(names[i], repeat.reads[i]))
        for place, i in enumerate(loops)
    )
    source = f", {place(repeat.source)}" if repeat.source else ""
    title, note = f"{repeat.name} x {repeat.length:,}", _step_text(repeat) + source
    return Card(title, note, repeat.length, (*reads, *writes), arcs, repeat.name)


def _output_of(read: Read) -> int:
    assert isinstance(read, Lag | Prefix)
    return read.output


def _read_row(name: str, read: Read, written: set[str]) -> Row:
    sources = read.names
    given = tuple(source for source in sources if source not in written)
    inner = tuple(dict.fromkeys(source for source in sources if source in written))
    return Row(name, kind_of(read), how_text(read), ends_text(inner), ends_text(given), inner)


def _write_rows(repeat: Repeat) -> tuple[list[int], list[Row]]:
    """The output number of each row, and the row: every output that is written or read again has one."""
    names = _result_names(repeat.body)
    pairs = sorted(((_write_output(repeat, write), write) for write in repeat.writes), key=lambda pair: pair[0])
    kept = [
        (output, Row(names[output], "write", write_text(write), write.name, writes=write.name))
        for output, write in pairs
    ]
    looped = {read.output for read in repeat.reads if isinstance(read, Lag | Prefix)} - {output for output, _ in pairs}
    rows = sorted(
        [*kept, *((output, Row(names[output], "write", "", "")) for output in looped)], key=lambda pair: pair[0]
    )
    return [output for output, _ in rows], [row for _, row in rows]


def _write_output(repeat: Repeat, write: Write) -> int:
    return _output_of(repeat.reads[write.read]) if isinstance(write, FinalBuffer) else write.output


def _arc_label(name: str, read: Read) -> str:
    return f"{name}, lag {read.distance}" if isinstance(read, Lag) else f"{name}, prefix"


def _result_names(body: fx.GraphModule) -> list[str]:
    results = body.graph.output_node().args[0]
    leaves = results if isinstance(results, list | tuple) else (results,)
    return [leaf.name if isinstance(leaf, fx.Node) else str(leaf) for leaf in leaves]


def _step_text(repeat: Repeat) -> str:
    """What a step computes: 5 ops, or 5 ops and (cell x 100: 19 ops)."""
    inside = (f"{inner.name} x {inner.length:,}: {_step_text(inner)}" for inner in loops_inside(repeat))
    return " and ".join((_ops_text(repeat.body), *(f"({text})" for text in inside)))


def _ops_text(body: fx.GraphModule) -> str:
    return count(count_ops(body), "op")
