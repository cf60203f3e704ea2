"""Cards stand below one another, and no two lines share a place."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.ir.spec import Block, System
from fxsolve.view.cards import make_cards
from fxsolve.view.layout import clip, place
from tests.view.samples import body, seven


@st.composite
def chains(draw: st.DrawFn) -> System:
    """Blocks that each read one to three earlier values and write one."""
    equations: list[Block] = []
    for number in range(draw(st.integers(1, 8))):
        known = ["x", *(f"v{i}" for i in range(number))]
        read = tuple(draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)))
        equations.append(Block(f"b{number}", body(tuple(f"p{i}" for i in range(len(read)))), read, (f"v{number}",)))
    outputs = tuple(draw(st.lists(st.sampled_from([e.outputs[0] for e in equations]), min_size=1, max_size=3)))
    return System(("x",), tuple(equations), outputs)


@given(chains())
@settings(max_examples=60, deadline=None)
def test_lines_that_stand_side_by_side_never_share_a_lane(system: System) -> None:
    layout = place(make_cards(system), ())
    spans = [(net.lane, layout.middle(*net.writer), layout.middle(*max(net.readers))) for net in layout.nets]
    for i, (lane, top, bottom) in enumerate(spans):
        assert top < bottom
        for other_lane, other_top, other_bottom in spans[:i]:
            assert lane != other_lane or bottom < other_top or other_bottom < top


@given(chains())
@settings(max_examples=60, deadline=None)
def test_every_read_of_an_earlier_equation_has_exactly_one_line(system: System) -> None:
    cards = make_cards(system)
    ends = [reader for net in place(cards, ()).nets for reader in net.readers]
    wanted = [(c, r) for c, card in enumerate(cards) for r, row in enumerate(card.rows) if row.reads]
    assert sorted(ends) == wanted


def test_cards_stand_below_one_another() -> None:
    cards = make_cards(seven())
    layout = place(cards, ("heading",))
    for number, card in enumerate(cards[:-1]):
        assert layout.middle(number, len(card.rows) - 1) < layout.tops[number + 1]


def test_a_clipped_name_keeps_both_ends() -> None:
    assert clip("x" * 40) == "x" * 40
    assert clip("first" + "x" * 90 + "last").startswith("first")
    assert clip("first" + "x" * 90 + "last").endswith("last")
    assert len(clip("x" * 90)) <= 40
