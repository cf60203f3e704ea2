"""Cards with hundreds of equal rows, made short."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from fxsolve.report.units import count
from fxsolve.view.cards import Arc, Card, Row

MOST, FIRST, LAST = 24, 4, 4


def fold(cards: Sequence[Card]) -> tuple[Card, ...]:
    """Replace the middle of every run of more than `MOST` rows that say the same by one row for all of them."""
    folded = [_fold_card(card) for card in cards]
    stands_for = {name: row.writes for card in folded for row in card.rows for name in row.hidden}
    return tuple(_redirect(card, stands_for) for card in folded)


def _redirect(card: Card, stands_for: dict[str, str]) -> Card:
    """Read the values of folded rows from the row that stands for them."""
    rows = (
        replace(row, reads=tuple(dict.fromkeys(stands_for.get(name, name) for name in row.reads))) for row in card.rows
    )
    return replace(card, rows=tuple(rows))


def _fold_card(card: Card) -> Card:
    groups = list(_groups(card.rows))
    place = {old: new for new, group in enumerate(groups) for old in group}
    rows = tuple(_merge([card.rows[old] for old in group]) for group in groups)
    ends = groupby(sorted(card.arcs, key=lambda arc: _ends(arc, place)), key=lambda arc: _ends(arc, place))
    return replace(card, rows=rows, arcs=tuple(_join(writer, reader, list(arcs)) for (writer, reader), arcs in ends))


def _groups(rows: Sequence[Row]) -> Iterator[list[int]]:
    """The numbers of the rows that share one row of the picture."""
    for _, run in groupby(range(len(rows)), key=lambda i: _likeness(rows[i])):
        numbers = list(run)
        middle = numbers[FIRST : len(numbers) - LAST] if len(numbers) > MOST else []
        for number in numbers:
            if number not in middle[1:]:
                yield middle if number in middle[:1] else [number]


def _likeness(row: Row) -> tuple[str, str, bool, bool, bool]:
    return row.kind, row.text, bool(row.given), bool(row.reads), bool(row.writes)


def _merge(rows: Sequence[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    values = count(len(rows), "value")
    return replace(
        rows[0],
        name=f"({len(rows):,} more)",
        value=values if rows[0].value else "",
        given=values if rows[0].given else "",
        reads=tuple(dict.fromkeys(name for row in rows for name in row.reads)),
        hidden=tuple(row.writes for row in rows if row.writes),
    )


def _ends(arc: Arc, place: dict[int, int]) -> tuple[int, int]:
    return place[arc.writer], place[arc.reader]


def _join(writer: int, reader: int, arcs: Sequence[Arc]) -> Arc:
    more = f" and {len(arcs) - 1:,} more" if len(arcs) > 1 else ""
    return Arc(writer, reader, arcs[0].label + more)
