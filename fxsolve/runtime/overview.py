"""All compiled programs of a process, and what runs for them."""

import io
import threading
import weakref
from dataclasses import dataclass
from html import escape
from typing import Protocol, final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fxsolve.runtime.cache import EntryInfo

HEADINGS = ("program", "inputs", "calls", "what runs")


class Keeping(Protocol):
    """What keeps compiled versions of one program."""

    @property
    def name(self) -> str: ...

    def entries(self) -> tuple[EntryInfo, ...]: ...


@dataclass(frozen=True)
class ProgramEntry:
    """One compiled version, and the program that it is of."""

    program: str
    entry: EntryInfo

    def cells(self) -> tuple[str, ...]:
        one = self.entry
        runs = one.schedule if one.status == "emitted" else f"original: {one.reason}"
        return self.program, one.signature, f"{one.calls:,}", runs


@final
class Overview(tuple[ProgramEntry, ...]):
    """The versions as a tuple, printed as a table, in notebooks too."""

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120, highlight=False, markup=False, emoji=False, no_color=True)
        console.print(self)
        return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]

    __repr__ = __str__

    def __rich__(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for heading in HEADINGS:
            table.add_column(heading, overflow="fold", justify="right" if heading == "calls" else "left")
        for one in self:
            table.add_row(*map(Text, one.cells()))
        return table

    def _repr_html_(self) -> str:
        rows = [HEADINGS, *(one.cells() for one in self)]
        return "<table>{}</table>".format(
            "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        )


_KEPT: "weakref.WeakValueDictionary[int, Keeping]" = weakref.WeakValueDictionary()
_LOCK = threading.Lock()
_made = 0


def note(kept: Keeping) -> None:
    """Have the overview show what `kept` keeps, as long as something else uses it."""
    global _made
    with _LOCK:
        _made += 1
        _KEPT[_made] = kept


def entries() -> Overview:
    """Every compiled version in this process, of programs in the order in which they were handed to `compile`."""
    with _LOCK:
        kept = [one for _, one in sorted(_KEPT.items())]
    return Overview(ProgramEntry(one.name, entry) for one in kept for entry in one.entries())
