"""What rich lays out, as plain text and on terminals."""

import io
from collections.abc import Callable
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType

# rich replaces a box without `ascii=True` by one full of + and | where the encoding is not UTF-8
ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
Made = Callable[[box.Box], RenderableType]


def plain_text(make: Made, ascii: bool = False, width: int = 80) -> str:
    """`make(head of tables)` as plain text, `width` columns wide; `ascii` escapes everything outside ASCII."""
    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii else "utf-8", errors="backslashreplace")
    console = Console(file=buffer, width=width, highlight=False, markup=False, emoji=False, no_color=True)
    console.print(make(ASCII_HEAD if ascii else box.SIMPLE_HEAD), crop=False)
    buffer.seek(0)
    return "\n".join(line.rstrip() for line in buffer.read().splitlines()) + "\n"


def print_on(stream: TextIO, make: Made) -> None:
    """Print to `stream`: in colour on a terminal, as plain ASCII anywhere else."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    if not stream.isatty() or not encoding.startswith("utf"):
        stream.write(plain_text(make, ascii=True))
        return
    Console(file=stream, highlight=False, markup=False, emoji=False).print(make(box.SIMPLE_HEAD), crop=False)
