"""Cards with many equal rows are made short, and keep their lines."""

from dataclasses import replace

import pytest

from fxsolve.ir.spec import Block, System
from fxsolve.view.cards import Card, make_cards
from fxsolve.view.fold import FIRST, LAST, MOST, fold
from fxsolve.view.layout import place
from tests.view.samples import body, gru, many_reads, seven


def fan(width: int) -> System:
    """One block that writes `width` values, and one that reads them all in the opposite order."""
    names = tuple(f"v{i}" for i in range(width))
    out = Block("out", body(("x",), width), ("x",), names)
    into = Block("into", body(tuple(f"p{i}" for i in range(width))), names[::-1], ("y",))
    return System(("x",), (out, into), ("y",))


@pytest.mark.parametrize("system", [gru(), seven(), many_reads(MOST)], ids=["gru", "seven", "many"])
def test_cards_with_few_equal_rows_stay_as_they_are(system: System) -> None:
    cards = make_cards(system)
    for before, after in zip(cards, fold(cards), strict=True):
        assert after == replace(before, arcs=after.arcs)
        assert set(after.arcs) == set(before.arcs)


def test_a_folded_card_counts_what_it_hides() -> None:
    out = fold(make_cards(fan(100)))[0]
    names = [row.name for row in out.rows]
    assert len(names) == 1 + FIRST + 1 + LAST
    assert names[1 + FIRST] == f"({100 - FIRST - LAST} more)"
    assert out.rows[1 + FIRST].value == f"{100 - FIRST - LAST} values"


def test_values_of_folded_rows_keep_a_line_to_where_they_are_read() -> None:
    cards = fold(make_cards(fan(100)))
    nets = {net.writer: net.readers for net in place(cards, ()).nets}
    middle = (0, 1 + FIRST)
    assert (1, FIRST) in nets[middle]
    assert len(nets) == FIRST + 1 + LAST + 1


def test_loop_edges_of_folded_rows_are_joined() -> None:
    card: Card = fold(make_cards(many_reads(100)))[0]
    hidden = [arc for arc in card.arcs if "more" in arc.label]
    assert [arc.label for arc in hidden] == [f"state_{99 - LAST}, lag 1 and {100 - FIRST - LAST - 1} more"]
    assert card.rows[hidden[0].writer].name == card.rows[hidden[0].reader].name == f"({100 - FIRST - LAST} more)"
