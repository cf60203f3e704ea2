"""Straight-line code as a picture: long skips as arcs, the sparsity pattern as a matrix, levels as columns."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from fxsolve.ir.spec import System, inputs_of, outputs_of
from fxsolve.structure.quotient import levels_of
from fxsolve.view.layout import CHAR, LINE, MARGIN, clip
from fxsolve.view.marks import INK, SOFT, link, name, page, text

# The colour of a read by its span in levels: from each of these on.
SPANS = ((1, "#b6bec7"), (2, "#0067a3"), (4, "#00795a"), (8, "#c24a00"), (16, "#a8487f"))
_BOX, _PALE = "#57606a", "#eef1f4"
_ROW, _CELL = 16.0, 9.0
_MOST_NAMED = 300
_DEEPEST = 240.0
_TITLES = ("skips", "sparsity pattern: a row reads columns", "levels")


@dataclass(frozen=True)
class Panels:
    """Pixels: row k is at `row(k)`; arcs bulge to the left of `arcs`, then names, the matrix and the levels."""

    equations: tuple[str, ...]
    names: tuple[str, ...]
    reads: tuple[tuple[int, ...], ...]
    level: tuple[int, ...]
    top: float
    arcs: float
    matrix: float
    levels: float
    step: float
    cell: float

    def row(self, block: int) -> float:
        """The middle of the row of a block."""
        return self.top + self.step * (block + 0.5)

    def span(self, source: int, target: int) -> int:
        return self.level[target] - self.level[source]

    @property
    def width(self) -> float:
        return self.levels + self.cell * max(self.level) + MARGIN

    @property
    def bottom(self) -> float:
        return self.top + self.step * len(self.names)


def draw_straight(system: System, heading: Sequence[str]) -> str:
    """SVG text: a row for each equation, from top to bottom in the order in which they run."""
    panels = _panels(system, heading)
    lines = _wrapped(heading, panels.width)
    parts = [text(MARGIN, MARGIN + LINE * i + 8, line, SOFT if i else INK) for i, line in enumerate(lines)]
    parts += [*_titles(panels), *_levels(panels), *_matrix(panels), *_names(panels), *_arcs(panels), *_legend(panels)]
    return page(parts, panels.width, panels.bottom + 2 * LINE + MARGIN)


def colour_of(span: int) -> str:
    """The colour of a read over so many levels."""
    return next(colour for least, colour in reversed(SPANS) if span >= least)


def _panels(system: System, heading: Sequence[str]) -> Panels:
    reads = reads_of(system)
    equations, level = tuple(equation.name for equation in system.equations), tuple(levels_of(reads))
    names = _short(equations)
    is_named = len(names) <= _MOST_NAMED
    step, cell = (_ROW, _CELL) if is_named else (2.0, 2.0)
    spans = [level[target] - level[source] for target, sources in enumerate(reads) for source in sources]
    arcs = MARGIN + min(max(spans, default=1) * step / 2, _DEEPEST) + 10
    wide = max(max((len(clip(one)) for one in names), default=0) * CHAR if is_named else 0, len(_TITLES[0]) * CHAR)
    matrix = arcs + wide + 24
    levels = matrix + max(cell * len(names), len(_TITLES[1]) * CHAR) + 24
    width = levels + cell * max(level) + MARGIN
    top = MARGIN + LINE * (len(_wrapped(heading, width)) + 1) + 14
    return Panels(equations, names, reads, level, top, arcs, matrix, levels, step, cell)


def reads_of(system: System) -> tuple[tuple[int, ...], ...]:
    """Which equations each equation reads."""
    writer = {value: k for k, equation in enumerate(system.equations) for value in outputs_of(equation)}
    return tuple(
        tuple(sorted({writer[value] for value in inputs_of(one) if value in writer})) for one in system.equations
    )


def _short(names: Sequence[str]) -> tuple[str, ...]:
    """The names without a first part that all of them have in common."""
    first = {one.partition(".")[0] for one in names}
    shared = len(first) == 1 and all("." in one for one in names)
    return tuple(one.partition(".")[2] if shared else one for one in names)


def _wrapped(heading: Sequence[str], width: float) -> list[str]:
    return [line for words in heading for line in textwrap.wrap(words, max(int((width - 2 * MARGIN) / CHAR), 20))]


def _titles(panels: Panels) -> Iterator[str]:
    y = panels.top - 8
    yield text(MARGIN, y, _TITLES[0], SOFT)
    yield text(panels.matrix, y, _TITLES[1], SOFT)
    yield text(panels.levels, y, _TITLES[2] if len(_TITLES[2]) * CHAR < panels.cell * max(panels.level) else "", SOFT)


def _rectangle(x: float, y: float, wide: float, tall: float, colour: str, title: str = "") -> str:
    shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{colour}"'
    return f"{shape}><title>{title}</title></rect>" if title else f"{shape}/>"


def _levels(panels: Panels) -> Iterator[str]:
    """Every second column shaded, and each block in the column of its level."""
    for level in range(0, max(panels.level), 2):
        x = panels.levels + panels.cell * level
        yield _rectangle(x, panels.top, panels.cell, panels.bottom - panels.top, _PALE)
    for block, level in enumerate(panels.level):
        x, y = panels.levels + panels.cell * (level - 1), panels.row(block) - panels.step / 2
        yield _rectangle(x, y + panels.step / 8, panels.cell, 0.75 * panels.step, _BOX)


def _matrix(panels: Panels) -> Iterator[str]:
    size = panels.cell * len(panels.names)
    yield _rectangle(panels.matrix, panels.top, size, panels.bottom - panels.top, _PALE)
    for target, sources in enumerate(panels.reads):
        y = panels.row(target) - panels.step / 2
        yield _rectangle(panels.matrix + panels.cell * target, y, panels.cell, panels.step, _BOX)
        for first, many, colour in _runs(panels, target, sources):
            yield _rectangle(panels.matrix + panels.cell * first, y, panels.cell * many, panels.step, colour)


def _runs(panels: Panels, target: int, sources: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """The first of neighbours that are read over spans of one colour, how many they are, and the colour."""

    def alike(pair: tuple[int, int]) -> tuple[int, str]:
        place, source = pair
        return source - place, colour_of(panels.span(source, target))

    for (_, colour), run in groupby(enumerate(sources), alike):
        (_, first), *others = run
        yield first, 1 + len(others), colour


def _names(panels: Panels) -> Iterator[str]:
    if len(panels.names) <= _MOST_NAMED:
        for block, one in enumerate(panels.names):
            yield link(panels.equations[block], name(panels.arcs + 10, panels.row(block) + 4, one))


def _arcs(panels: Panels) -> Iterator[str]:
    """Half an ellipse for each skip; those of one colour are one path, the longest below."""
    pairs = [(source, target) for target, sources in enumerate(panels.reads) for source in sources]
    paths: dict[str, list[str]] = {}
    for source, target in pairs:
        if (span := panels.span(source, target)) > 1:
            paths.setdefault(colour_of(span), []).append(_arc(panels, source, target))
    for _, colour in reversed(SPANS):
        if colour in paths:
            points = "".join(paths[colour])
            yield f'<path d="{points}" fill="none" stroke="{colour}" stroke-width="1" opacity="0.7"/>'
    for block in range(len(panels.names)):
        yield f'<circle cx="{panels.arcs:.1f}" cy="{panels.row(block):.1f}" r="{panels.step / 6:.1f}" fill="{INK}"/>'


def _arc(panels: Panels, source: int, target: int) -> str:
    x, start, end = panels.arcs, panels.row(source), panels.row(target)
    half = (end - start) / 2
    return f"M{x:g} {start:g}A{min(half, _DEEPEST):g} {half:g} 0 0 0 {x:g} {end:g}"


def _legend(panels: Panels) -> Iterator[str]:
    """Which colour is which span, in one row."""
    x, y = MARGIN, panels.bottom + LINE + 6
    ends = [least - 1 for least, _ in SPANS[1:]]
    for (least, colour), most in zip(SPANS, [*ends, None], strict=True):
        words = f"{least}" if most == least else f"{least}-{most}" if most else f"{least} levels or more"
        yield _rectangle(x, y - 10, 12, 12, colour)
        yield text(x + 17, y, words)
        x += 17 + CHAR * len(words) + 16
