"""Who reads whom, as matrices: equations of a system, and steps of a loop."""

from collections.abc import Iterable
from dataclasses import dataclass

from fxsolve.ir.spec import Lag, Prefix, Read, Repeat, System
from fxsolve.view.straight import reads_of

MOST = 48  # rows that are told apart: a row of a larger matrix stands for as many steps, or equations, as it takes


@dataclass(frozen=True)
class Pattern:
    """A matrix of `size` rows whose row i reads the columns marked in it: `cells` and `diagonal` are paths."""

    title: str
    size: int
    cells: str
    diagonal: str
    note: str = ""


def system_pattern(system: System) -> Pattern:
    """A row for each equation, in the order in which they run."""
    reads = reads_of(system)
    pairs = ((target, source) for target, sources in enumerate(reads) for source in sources)
    return _pattern("equations", len(reads), pairs, "a row is an equation, and reads the columns marked in it")


def step_pattern(repeat: Repeat, jacobian: str) -> Pattern:
    """A row for each step of a loop; `jacobian` says what one mark stands for."""
    size = min(repeat.length, MOST)
    pairs = {pair for read in repeat.reads for pair in _marks(read, repeat.length, size)}
    note = f"each mark is a Jacobian, {jacobian}" if jacobian and pairs else ""
    return _pattern(repeat.name, repeat.length, pairs, note or ("" if pairs else "no step reads another"), size)


def _marks(read: Read, length: int, size: int) -> Iterable[tuple[int, int]]:
    """The rows and columns of a matrix of `size` rows in which steps read earlier ones."""
    if isinstance(read, Prefix):
        return ((row, column) for row in range(size) for column in range(row + (size < length)))
    if not isinstance(read, Lag):
        return ()
    steps = range(read.distance, length)
    return {(t * size // length, (t - read.distance) * size // length) for t in steps}


def _pattern(title: str, rows: int, pairs: Iterable[tuple[int, int]], note: str, size: int = 0) -> Pattern:
    shown = size or min(rows, MOST)
    scaled = {(i * shown // rows, j * shown // rows) for i, j in pairs} if not size else set(pairs)
    coarse = f"{rows:,} x {rows:,}" if rows == shown else f"{rows:,} x {rows:,}, shown by {shown} x {shown}"
    return Pattern(f"{title}: {coarse}", shown, _cells(scaled), _cells((k, k) for k in range(shown)), note)


def _cells(pairs: Iterable[tuple[int, int]]) -> str:
    return "".join(f"M{column} {row}h1v1h-1z" for row, column in sorted(pairs))
