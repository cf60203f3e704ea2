"""Rent before you buy, and the seconds of equations."""

from dataclasses import replace

import pytest
import torch
from torch import fx

from fxsolve.economy.prices import Prices
from fxsolve.ir.spec import AllSteps, Block, Lag, Repeat, Slices, System
from fxsolve.plan import rent as rent_module
from fxsolve.plan.purse import GraphRequest
from fxsolve.plan.rent import Paid, Rent
from fxsolve.plan.timing import time_equations

ASKED = GraphRequest("cell", "graph", ops=10, total=0.02, best=0.01, compiled=0.004)
PRICES = Prices(op_seconds=0.1, graph_seconds=2.0, start_seconds=4.0)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether inductor was imported."""
    state = [True]
    monkeypatch.setattr(rent_module, "is_started", lambda: state[0])
    return state


def test_the_first_graph_of_a_process_costs_its_start_too(started: list[bool]) -> None:
    started[0] = False
    rent = Rent(PRICES)
    rent.refuse(ASKED)
    rent.refuse(replace(ASKED, graph="another"))
    assert [offer.price for offer in rent.offers] == [7.0, 3.0]


def test_what_costs_seconds_is_offered_and_not_bought() -> None:
    rent = Rent(PRICES)
    assert (
        rent.refuse(ASKED) == "would save about 6 ms a call, and compiling takes about 3.0 s: it pays after 500 calls"
    )
    (offer,) = rent.offers
    assert (offer.loop, offer.graph, offer.price) == ("cell", "graph", 3.0)
    assert abs(offer.gain - 0.006) < 1e-12


def test_equal_graphs_are_paid_once() -> None:
    rent = Rent(PRICES)
    rent.refuse(ASKED)
    rent.refuse(ASKED)
    assert [offer.price for offer in rent.offers] == [3.0, 0.0]


def test_what_was_compiled_before_costs_nothing() -> None:
    assert Rent(PRICES, {"graph"}).refuse(ASKED) == ""


def test_what_saves_nothing_is_said_to() -> None:
    slow = GraphRequest("cell", "graph", 10, 0.02, 0.01, 0.012)
    assert Rent(PRICES).refuse(slow) == "compiled steps are predicted to take 12 ms, no less than without"


def test_what_was_paid_is_compiled_and_known_from_then_on() -> None:
    paid = Paid(PRICES)
    assert paid.refuse(ASKED) == ""
    assert paid.graphs == {"graph"}
    assert paid.offers == paid.notes() == ()


def test_every_equation_is_timed_on_the_values_of_those_before_it() -> None:
    """The block costs a hundred times what the loop does."""
    block = Block("block", fx.symbolic_trace(lambda x: (torch.linalg.svd(x)[1],)), ("x",), ("values",))
    body = fx.symbolic_trace(lambda h, v: (h + v,))
    loop = Repeat("loop", body, 3, (Lag(0, ("zero",)), Slices("values", 0, (0, 1, 2))), (AllSteps("sums", 0),))
    system = System(("x", "zero"), (block, loop), ("sums",))
    seconds = time_equations(system, {"x": torch.eye(300), "zero": torch.zeros(())})
    assert len(seconds) == 2
    assert seconds[0] > seconds[1] > 0
