"""How a repeat's reads and writes are said in words, for the report and the pictures."""

from fxsolve.ir.spec import (
    AllSteps,
    Count,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Read,
    Repeat,
    Slices,
    Stacked,
    Table,
    Write,
)
from fxsolve.ir.text import index_text
from fxsolve.report.units import count


def describe_reads(repeat: Repeat) -> tuple[str, ...]:
    """One line per read: the placeholder of the body, then what it receives at step t."""
    return tuple(f"{name}: {_line(read)}" for name, read in zip(argument_names(repeat), repeat.reads, strict=True))


def _line(read: Read) -> str:
    match read:
        case Invariant(source):
            return f"invariant {source}"
        case Lag():
            return f"lag {read.distance}, from {source_text(read)}"
        case Table():
            return f"table {how_text(read)}"
        case _:
            return f"{kind_of(read)} of {source_text(read)}, {how_text(read)}"


def argument_names(repeat: Repeat) -> tuple[str, ...]:
    """The body's placeholder names, in order."""
    return tuple(node.name for node in repeat.body.graph.nodes if node.op == "placeholder")


def kind_of(read: Read) -> str:
    """The kind of a read in one word."""
    return type(read).__name__.lower()


def source_text(read: Read) -> str:
    """The values outside the repeat that a read uses."""
    return ends_text(read.names)


def how_text(read: Read) -> str:
    """What step t receives."""
    match read:
        case Invariant():
            return "the same at every step"
        case Stacked():
            return "one per step"
        case Slices(_, dim, index):
            return f"dim {dim}, entry {index_text(index)}"
        case Table(values):
            return index_text(values)
        case Lag():
            return f"{count(read.distance, 'step')} back"
        case Prefix(_, _, dim, index):
            return f"dim {dim}, entries written before; step t writes entry {index_text(index)}"


def write_text(write: Write) -> str:
    """Which steps a write keeps."""
    match write:
        case AllSteps():
            return "all steps"
        case LastStep():
            return "last step"
        case FinalBuffer():
            return "buffer at the end"
        case Count():
            return "number of steps"


def ends_text(names: tuple[str, ...]) -> str:
    """All of a few names, or the first and the last."""
    if len(names) <= 2:
        return ", ".join(names)
    return f"{names[0]} .. {names[-1]} ({len(names):,})"
