"""A system as one SVG picture, without Graphviz: equations from top to bottom, a repeat drawn once."""

from collections.abc import Iterator, Sequence

from fxsolve.ir.spec import System
from fxsolve.plan.straight import straight_runs
from fxsolve.report.units import count
from fxsolve.view.cards import Card, Row
from fxsolve.view.detail import Detail, detailed_cards
from fxsolve.view.fold import fold
from fxsolve.view.layout import (
    CHAR,
    HEAD,
    LANE,
    LINE,
    MARGIN,
    ROW,
    CardLayout,
    arc_labels,
    height,
    place,
    row_text,
)
from fxsolve.view.marks import EDGE, INK, PAPER, SOFT, link, name, page, path, text, tip
from fxsolve.view.straight import draw_straight

# after Okabe and Ito (2008), darkened to be readable as text: colour-blind readers can tell them apart
COLOURS = {
    "invariant": "#57606a",
    "stacked": "#a8487f",
    "slices": "#0067a3",
    "table": "#8a6100",
    "lag": "#c24a00",
    "prefix": "#00795a",
}
MEANINGS = {
    "invariant": "the same value at every step",
    "stacked": "one value per step",
    "slices": "one entry of a tensor per step",
    "table": "a number that changes with the step",
    "lag": "its own output, some steps back",
    "prefix": "a buffer written once per step, read whole",
}


def draw_system(system: System, schedule_text: str | None = None, detail: Detail = "equations") -> str:
    """SVG text of `system`; its size does not depend on how many steps a repeat has.

    Straight-line code is drawn as the blocks that it was written as, and who reads whom.
    """
    if detail != "ops" and straight_runs(system):
        return draw_straight(system, heading(system, schedule_text))
    cards = fold(detailed_cards(system, schedule_text, detail))
    layout = place(cards, heading(system, schedule_text))
    kinds = {row.kind for card in cards for row in card.rows}
    legend = [kind for kind in MEANINGS if kind in kinds]
    parts = [*_title(layout), *_cards(cards, layout), *_net_lines(layout), *_legend(legend, layout)]
    return page(parts, layout.width, layout.bottom + LINE * len(legend) + MARGIN)


def heading(system: System, schedule_text: str | None) -> tuple[str, ...]:
    """What stands above the picture."""
    loops = len(system.repeats)
    equations = f"{count(len(system.equations) - loops, 'block')}, {count(loops, 'loop')}"
    return (equations, f"schedule: {schedule_text}") if schedule_text else (equations,)


def _title(layout: CardLayout) -> Iterator[str]:
    for i, line in enumerate(layout.heading):
        yield text(MARGIN, MARGIN + LINE * i + 8, line, INK if i == 0 else SOFT)


def _cards(cards: Sequence[Card], layout: CardLayout) -> Iterator[str]:
    for number, card in enumerate(cards):
        yield from _frame(card, layout.tops[number], layout)
        for i, row in enumerate(card.rows):
            yield from _row(row, layout.middle(number, i), layout)
        yield from _arcs(number, card, layout)


def _frame(card: Card, top: float, layout: CardLayout) -> Iterator[str]:
    repeated = card.copies > 1
    for offset in (8, 4, 0) if repeated else (0,):
        yield (
            f'<rect x="{layout.left + offset:.1f}" y="{top + offset:.1f}" width="{layout.right - layout.left:.1f}" '
            f'height="{height(card):.1f}" rx="5" fill="{PAPER}" stroke="{INK if repeated else EDGE}" '
            f'stroke-width="{1.4 if repeated and not offset else 1}"/>'
        )
    title = text(layout.left + 14, top + 20, card.title, more=' font-size="14" font-weight="bold"')
    yield link(card.name, title) if card.name else title
    if card.how:
        yield text(layout.right - 14, top + 20, card.how, COLOURS["prefix"], ' text-anchor="end" font-weight="bold"')
    yield text(layout.left + 14, top + 37, card.note, SOFT)
    yield from _rule(card, top, layout)


def _rule(card: Card, top: float, layout: CardLayout) -> Iterator[str]:
    """A line between the reads and the writes."""
    reads = sum(row.kind != "write" for row in card.rows)
    if 0 < reads < len(card.rows):
        y = top + HEAD + ROW * reads
        yield path(f"M{layout.left + 8:.1f} {y:.1f}H{layout.right - 8:.1f}", "#d0d7de")


def _row(row: Row, y: float, layout: CardLayout) -> Iterator[str]:
    colour = COLOURS.get(row.kind, INK)
    yield name(layout.left + 14, y + 4, row.name, INK, ' font-weight="bold"')
    if row_text(row):
        yield text(layout.kinds, y + 4, row_text(row), colour)
    if row.value:
        yield name(layout.right - 12, y + 4, row.value, SOFT, ' text-anchor="end"')
    if row.given:
        end = layout.left - layout.gutter
        yield name(end, y + 4, row.given, INK, ' text-anchor="end"')
        yield path(f"M{end + 6:.1f} {y:.1f}H{layout.left - 4:.1f}", COLOURS.get(row.kind, EDGE))
        yield tip(layout.left, y, 1, COLOURS.get(row.kind, EDGE))


def _arcs(number: int, card: Card, layout: CardLayout) -> Iterator[str]:
    widest_first = sorted(card.arcs, key=lambda arc: arc.writer - arc.reader)
    for place_, arc in enumerate(widest_first):
        colour = COLOURS[card.rows[arc.reader].kind]
        x = layout.left - 22 - LANE * place_
        start, end = layout.middle(number, arc.writer), layout.middle(number, arc.reader)
        yield path(f"M{layout.left:.1f} {start:.1f}H{x:.1f}V{end:.1f}H{layout.left - 4:.1f}", colour)
        yield tip(layout.left, end, 1, colour)
    for row, label in arc_labels(card).items():
        colour = COLOURS[next(card.rows[arc.reader].kind for arc in card.arcs if arc.writer == row)]
        yield text(layout.left - layout.gutter, layout.middle(number, row) + 4, label, colour, ' text-anchor="end"')


def _net_lines(layout: CardLayout) -> Iterator[str]:
    for net in layout.nets:
        start, x = layout.middle(*net.writer), layout.right + 22 + LANE * net.lane
        for reader in net.readers:
            end = layout.middle(*reader)
            yield path(f"M{layout.right:.1f} {start:.1f}H{x:.1f}V{end:.1f}H{layout.right + 4:.1f}", EDGE)
            yield tip(layout.right, end, -1, EDGE)


def _legend(kinds: Sequence[str], layout: CardLayout) -> Iterator[str]:
    for i, kind in enumerate(kinds):
        y = layout.bottom + LINE * i
        yield text(layout.left + 14, y + 4, kind, COLOURS[kind])
        yield text(layout.left + 14 + CHAR * 11, y + 4, MEANINGS[kind], SOFT)
