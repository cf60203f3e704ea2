"""A system as Graphviz source."""

from itertools import pairwise

import graphviz

from fxsolve.ir.spec import System
from fxsolve.plan.straight import straight_runs
from fxsolve.structure.quotient import levels_of
from fxsolve.view.cards import Card
from fxsolve.view.detail import Detail, detailed_cards
from fxsolve.view.fold import fold
from fxsolve.view.layout import clip, ends, row_text
from fxsolve.view.straight import colour_of, reads_of
from fxsolve.view.svg import heading


def draw_dot(system: System, schedule_text: str | None = None, detail: Detail = "equations") -> graphviz.Digraph:
    """The same picture as `draw_system`, for Graphviz to lay out; making the source needs no Graphviz program."""
    if detail != "ops" and straight_runs(system):
        return _draw_straight(system, schedule_text)
    dot = graphviz.Digraph("system", node_attr={"shape": "box", "fontname": "monospace", "fontsize": "11"})
    dot.attr(label=_lines(heading(system, schedule_text)), labelloc="t", labeljust="l", fontname="monospace")
    dot.attr("edge", fontname="monospace", fontsize="10")
    cards = fold(detailed_cards(system, schedule_text, detail))
    writers = _writers(cards)
    for number, card in enumerate(cards):
        dot.node(f"card{number}", label=_lines(_card_lines(card)), peripheries="2" if card.copies > 1 else "1")
        _draw_edges(dot, number, card, writers)
    return dot


def _draw_straight(system: System, schedule_text: str | None) -> graphviz.Digraph:
    """Levels as columns, and reads coloured by their span."""
    dot = graphviz.Digraph("system", node_attr={"shape": "box", "fontname": "monospace", "fontsize": "11"})
    dot.attr(label=_lines(heading(system, schedule_text)), labelloc="t", labeljust="l", fontname="monospace")
    dot.attr(rankdir="LR")
    reads = reads_of(system)
    level = levels_of(reads)
    for number, equation in enumerate(system.equations):
        with dot.subgraph() as column:  # pyright: ignore[reportOptionalContextManager]
            column.attr(rank="same")
            column.node(f"level{level[number]}", shape="point", style="invis")
            column.node(f"block{number}", label=graphviz.escape(clip(equation.name)))
    for above, below in pairwise(range(1, max(level) + 1)):
        dot.edge(f"level{above}", f"level{below}", style="invis")
    for target, sources in enumerate(reads):
        for source in sources:
            dot.edge(f"block{source}", f"block{target}", color=colour_of(level[target] - level[source]))
    return dot


def _draw_edges(dot: graphviz.Digraph, number: int, card: Card, writers: dict[str, int]) -> None:
    for i, row in enumerate(card.rows):
        if row.given:
            dot.node(f"given{number}_{i}", label=graphviz.escape(clip(row.given)), shape="plaintext")
            dot.edge(f"given{number}_{i}", f"card{number}")
        for value in ends(row.reads):
            dot.edge(f"card{writers[value]}", f"card{number}", label=graphviz.escape(clip(value)))
    for arc in card.arcs:
        dot.edge(f"card{number}", f"card{number}", label=graphviz.escape(arc.label))


def _writers(cards: tuple[Card, ...]) -> dict[str, int]:
    return {row.writes: number for number, card in enumerate(cards) for row in card.rows if row.writes}


def _card_lines(card: Card) -> tuple[str, ...]:
    names = max((len(clip(row.name)) for row in card.rows), default=0)
    rows = (f"{clip(row.name):<{names}}  {row_text(row)}".rstrip() for row in card.rows)
    return (f"{card.title}    {card.how}".rstrip(), card.note, *rows)


def _lines(lines: tuple[str, ...]) -> str:
    """Lines set flush left."""
    return "".join(f"{graphviz.escape(line)}\\l" for line in lines)
