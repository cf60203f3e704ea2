"""Where the cards of a picture stand, and which lane each line between them takes."""

import heapq
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from fxsolve.view.cards import Card, Row

CHAR = 7.25  # width of one character of the 12 px monospace face
ROW, HEAD, FOOT, GAP, LANE, MARGIN = 22, 46, 8, 30, 12, 20
LINE = 18
NARROWEST = 520
LONGEST_NAME = 40


@dataclass(frozen=True)
class Net:
    """A line from the row that writes a value to the rows that read it; rows are (card, row)."""

    writer: tuple[int, int]
    readers: tuple[tuple[int, int], ...]
    lane: int


@dataclass(frozen=True)
class CardLayout:
    """Pixels: cards from `left` to `right`, labels and loop edges (`gutter` wide) left of them, nets right of them.

    `kinds` is where the text after the names starts, `tops` has the upper edge of each card.
    """

    heading: tuple[str, ...]
    gutter: float
    left: float
    right: float
    kinds: float
    tops: tuple[float, ...]
    nets: tuple[Net, ...]
    width: float
    bottom: float

    def middle(self, card: int, row: int) -> float:
        """The height of the middle of a row."""
        return self.tops[card] + HEAD + ROW * row + ROW / 2


def clip(name: str) -> str:
    """`name` with its middle left out where it is too long to print."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME // 2 - 1]}..{name[-(LONGEST_NAME // 2 - 1) :]}"


def row_text(row: Row) -> str:
    """What is printed between the name and the value of a row."""
    return row.text if row.kind in ("read", "write", "output", "op") else f"{row.kind:<11}{row.text}"


def height(card: Card) -> float:
    """The height of a card."""
    return HEAD + ROW * len(card.rows) + FOOT


def place(cards: Sequence[Card], heading: Sequence[str]) -> CardLayout:
    """Stack the cards below the heading, as wide as their longest row."""
    nets = _nets(cards)
    gutter = LANE * max(len(card.arcs) for card in cards) + 34.0
    left = MARGIN + CHAR * _longest(_labels(cards)) + gutter
    names = CHAR * _longest([clip(row.name) for card in cards for row in card.rows])
    right = max(left + 28 + _card_width(cards, names), NARROWEST)
    width = right + LANE * (max((net.lane for net in nets), default=0) + 1) + MARGIN + 8
    lines = tuple(line for text in heading for line in textwrap.wrap(text, int((width - 2 * MARGIN) / CHAR)))
    tops = [MARGIN + LINE * len(lines) + 14.0]
    for card in cards:
        tops.append(tops[-1] + height(card) + GAP)
    return CardLayout(lines, gutter, left, right, left + 28 + names, tuple(tops[:-1]), nets, width, tops[-1])


def _labels(cards: Sequence[Card]) -> list[str]:
    given = [clip(row.given) for card in cards for row in card.rows]
    return given + [label for card in cards for label in arc_labels(card).values()]


def arc_labels(card: Card) -> dict[int, str]:
    """What is printed where the loop edges of a card start, for each row that one starts from."""
    labels: dict[int, str] = {}
    for arc in card.arcs:
        labels[arc.writer] = clip(f"{labels[arc.writer]}; {arc.label}" if arc.writer in labels else arc.label)
    return labels


def _longest(texts: Sequence[str]) -> int:
    return max((len(text) for text in texts), default=0)


def _card_width(cards: Sequence[Card], names: float) -> float:
    rows = [names + CHAR * (len(row_text(row)) + len(clip(row.value)) + 3) for card in cards for row in card.rows]
    heads = [CHAR * 1.2 * max(len(card.title) + len(card.how) + 4, len(card.note)) for card in cards]
    return max([*rows, *heads])


def _nets(cards: Sequence[Card]) -> tuple[Net, ...]:
    """One net per value that another card reads, in the innermost lane that is free over its height."""
    places = [((c, r), row) for c, card in enumerate(cards) for r, row in enumerate(card.rows)]
    readers: dict[str, list[tuple[int, int]]] = {}
    for where, row in places:
        for name in ends(row.reads):
            readers.setdefault(name, []).append(where)
    busy: list[tuple[tuple[int, int], int]] = []
    free: list[int] = []
    nets: list[Net] = []
    for where, row in places:
        if row.writes not in readers or not row.writes:
            continue
        while busy and busy[0][0] < where:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (max(readers[row.writes]), lane))
        nets.append(Net(where, tuple(readers[row.writes]), lane))
    return tuple(nets)


def ends(names: tuple[str, ...]) -> tuple[str, ...]:
    """The values of one read that a line is drawn for: the first and the last of many."""
    return names if len(names) <= 2 else (names[0], names[-1])
