"""One card for each equation, with what it reads and writes."""

import torch

from fxsolve.ir.spec import Block, Lag, LastStep, Repeat, System
from fxsolve.stages import capture, partition
from fxsolve.view.cards import Arc, make_cards
from tests.loops.nests import LAYERS, LONG, SEQUENCE, LayersOverTime
from tests.view.samples import body, gru, repeat, seven


def test_there_is_one_card_per_equation_and_one_for_the_outputs() -> None:
    cards = make_cards(seven())
    assert [card.title.split(" x ")[0] for card in cards] == [*(e.name for e in seven().equations), "outputs"]


def test_a_program_input_is_given_and_a_value_of_another_equation_is_read() -> None:
    rows = {row.name: row for row in make_cards(gru())[1].rows}
    assert (rows["weight"].given, rows["weight"].reads) == ("cell.weight_hh", ())
    assert (rows["x_t"].given, rows["x_t"].reads) == ("", ("x_proj",))
    assert (rows["h"].given, rows["h"].reads) == ("h0", ())


def test_an_output_that_nothing_outside_uses_still_starts_its_loop_edge() -> None:
    hidden = repeat("cell", 5, {"h": Lag(0, ("h0",)), "c": Lag(1, ("c0",))}, (LastStep("end", 1),), results=2)
    card = make_cards(System(("h0", "c0"), (hidden,), ("end",)))[0]
    assert [(row.name, row.writes) for row in card.rows] == [("c", ""), ("h", ""), ("tanh", ""), ("tanh_1", "end")]
    assert card.arcs == (Arc(3, 0, "c, lag 1"), Arc(2, 1, "h, lag 1"))


def test_one_output_may_start_several_loop_edges() -> None:
    twice = repeat("fib", 5, {"a": Lag(0, ("x0",)), "b": Lag(0, ("x0", "x1"))}, (LastStep("end", 0),))
    card = make_cards(System(("x0", "x1"), (twice,), ("end",)))[0]
    assert {(arc.writer, arc.label) for arc in card.arcs} == {(2, "a, lag 1"), (2, "b, lag 2")}


def test_initial_values_from_inputs_and_from_equations_may_be_mixed() -> None:
    before = Block("before", body(("x",)), ("x",), ("x1",))
    cell: Repeat = repeat("cell", 5, {"h": Lag(0, ("x", "x1"))}, (LastStep("end", 0),))
    row = make_cards(System(("x",), (before, cell), ("end",)))[1].rows[0]
    assert (row.given, row.reads) == ("x", ("x1",))


def test_a_single_step_is_called_one() -> None:
    assert make_cards(gru(1))[1].title == "cell x 1"


def test_a_loop_around_loops_tells_what_a_step_runs() -> None:
    with torch.no_grad():
        system = partition(capture(LayersOverTime(), torch.randn(SEQUENCE))).system
    card = make_cards(system)[0]
    assert card.title == f"loop0 x {LAYERS}"
    assert f"ops and (loop0_loop0_inputs x {LONG}: 1 op) and (loop0_loop0 x {LONG}: 3 ops)" in card.note
