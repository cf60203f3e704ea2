"""A picture of a system and of what runs for it, shown in notebooks and saved to files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import graphviz

from fxsolve.errors import InputError
from fxsolve.ir.spec import System
from fxsolve.ir.text import system_text
from fxsolve.view.dot import draw_dot
from fxsolve.view.svg import draw_system


@final
@dataclass(frozen=True, repr=False)
class Drawing:
    """`system` with the text of its schedule, or with the reason why the original runs, above it."""

    system: System
    schedule: str

    @property
    def svg(self) -> str:
        """The picture as SVG text."""
        return draw_system(self.system, self.schedule)

    @property
    def dot(self) -> str:
        """The picture as Graphviz source."""
        return draw_dot(self.system, self.schedule).source

    @property
    def text(self) -> str:
        """The equations as text."""
        return f"schedule: {self.schedule}\n\n{system_text(self.system)}"

    def save(self, path: str | Path) -> Path:
        """Write `path`, in the form that its ending names, and the folders that it lies in; returns the path.

        Raises `InputError` for other endings, and for .png and .pdf without the program `dot` of Graphviz.
        """
        path = Path(path)
        write = WRITERS.get(path.suffix)
        if write is None:
            raise InputError(f"{path.name}: a picture ends in one of {', '.join(WRITERS)}")
        content = write(self)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Drawing({self.system!r}, schedule {self.schedule})"


def _by_graphviz(form: str) -> Callable[[Drawing], bytes]:
    def write(drawing: Drawing) -> bytes:
        try:
            return draw_dot(drawing.system, drawing.schedule).pipe(format=form)
        except graphviz.ExecutableNotFound as error:
            raise InputError(
                f".{form} is drawn by the program dot of Graphviz, which is not installed (apt install graphviz); "
                ".svg needs no other program"
            ) from error

    return write


def _page(drawing: Drawing) -> bytes:
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>fxsolve</title></head><body>'
    return f"{head}\n{drawing.svg}</body></html>\n".encode()


WRITERS: Mapping[str, Callable[[Drawing], bytes]] = {
    ".svg": lambda drawing: drawing.svg.encode(),
    ".html": _page,
    ".dot": lambda drawing: drawing.dot.encode(),
    ".txt": lambda drawing: drawing.text.encode(),
    ".png": _by_graphviz("png"),
    ".pdf": _by_graphviz("pdf"),
}
