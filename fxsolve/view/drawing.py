"""A picture of a system and of what runs for it, shown in notebooks and saved to files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import graphviz

from fxsolve.errors import InputError
from fxsolve.ir.spec import System
from fxsolve.ir.text import pattern_text, system_text
from fxsolve.view.detail import Detail
from fxsolve.view.dot import draw_dot
from fxsolve.view.marks import side_by_side
from fxsolve.view.svg import draw_system


@final
@dataclass(frozen=True, repr=False)
class Drawing:
    """`system` with the text of its schedule, or with the reason why the original runs, above it.

    `before` is the text of a schedule that is drawn to the left of it, for comparison.
    """

    system: System
    schedule: str
    detail: Detail = "equations"
    before: str = ""

    @property
    def svg(self) -> str:
        """The picture as SVG text."""
        after = draw_system(self.system, self.schedule, self.detail)
        return side_by_side(draw_system(self.system, self.before, self.detail), after) if self.before else after

    @property
    def dot(self) -> str:
        """The picture as Graphviz source."""
        return draw_dot(self.system, self.schedule, self.detail).source

    @property
    def text(self) -> str:
        """The equations as text: who reads whom, what steps read and write, or their code."""
        return f"schedule: {self.schedule}\n\n{_TEXTS[self.detail](self.system)}"

    def save(self, path: str | Path) -> Path:
        """Write `path`, in the form that its ending names, and the folders that it lies in; returns the path.

        Raises `InputError` for other endings, for .png and .pdf without the program `dot` of Graphviz, and for two
        pictures side by side in any but .svg and .html.
        """
        path = Path(path)
        if self.before and path.suffix not in BESIDE:
            raise InputError(f"{path.name}: two pictures side by side are written as {' and '.join(BESIDE)}")
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


def _with_code(system: System) -> str:
    codes = (f"{one.name}:\n{one.body.code.strip()}" for one in system.equations)
    return "\n\n".join((system_text(system), *codes))


_TEXTS: Mapping[Detail, Callable[[System], str]] = {
    "loops": pattern_text,
    "equations": system_text,
    "ops": _with_code,
}
BESIDE = (".svg", ".html")


def _by_graphviz(form: str) -> Callable[[Drawing], bytes]:
    def write(drawing: Drawing) -> bytes:
        try:
            return draw_dot(drawing.system, drawing.schedule, drawing.detail).pipe(format=form)
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
