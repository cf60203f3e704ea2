"""Several steps of a loop that stops on a value, in one graph."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.spec import AllSteps, Invariant, Lag, LastStep, Repeat, Table, Until
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.ahead import ahead_graph, no_look_ahead, outputs_kept, own_ops

aten = torch.ops.aten
UNTIL = Until(2, True, checks=((3, True),))


def repeat() -> Repeat:
    """x_t = W x_{t-1} + x_{t-2} until a sum is small, while all is finite; the sums are wanted."""
    graph, example = fx.Graph(), torch.ones(3)
    older, x, weight = (graph.placeholder(name) for name in ("older", "x", "weight"))
    for node, value in ((older, example), (x, example), (weight, torch.ones(3, 3))):
        node.meta["spec"] = spec_of(value)

    def call(target, *args, like: Tensor) -> fx.Node:
        node = graph.call_function(target, args)
        node.meta["spec"] = spec_of(like)
        return node

    new = call(aten.add.Tensor, call(aten.mv.default, weight, x, like=example), older, like=example)
    total = call(aten.sum.default, new, like=torch.tensor(0.0))
    stops = call(aten.lt.Scalar, total, 0.1, like=torch.tensor(True))
    finite = call(aten.isfinite.default, total, like=torch.tensor(True))
    graph.output((new, total, stops, finite))
    reads = (Lag(0, ("a", "b")), Lag(0, ("b",)), Invariant("weight"))
    writes = (AllSteps("totals", 1), LastStep("y", 0))
    return Repeat("walk", fx.GraphModule({}, graph), 9, reads, writes, until=UNTIL)


def test_the_graph_gives_what_its_steps_give_one_by_one() -> None:
    whole = repeat()
    assert no_look_ahead(whole) is None
    assert outputs_kept(whole) == (0, 1)
    weight, past = torch.rand(3, 3), [torch.rand(3), torch.rand(3)]
    *found, reads = ahead_graph(whole, 3)(*past, past[1], weight)
    assert len(found) == 6
    for k in range(3):
        new, total, stops, finite = whole.body(*past, weight)
        past = [past[1], new]
        assert torch.equal(found[2 * k], new)
        assert torch.equal(found[2 * k + 1], total)
        assert reads[2 * k : 2 * k + 2].tolist() == [bool(stops), bool(finite)]


def test_what_rounds_in_an_order_of_its_own_stays_as_it_is_called() -> None:
    assert own_ops(repeat()) == {"mv", "sum"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until": None}, "how many steps there are is known"),
        ({"until": replace(UNTIL, output=1)}, "what it stops on is not a bool"),
        ({"reads": (Lag(0, ("a", "b")), Lag(0, ("b",)), Table((0.5,) * 9))}, "its steps read more than"),
    ],
)
def test_it_is_said_why_a_loop_cannot_look_ahead(changes: dict[str, object], message: str) -> None:
    assert message in (no_look_ahead(replace(repeat(), **changes)) or "")


def test_steps_that_read_numbers_cannot_look_ahead() -> None:
    whole = repeat()
    next(iter(whole.body.graph.nodes)).meta["spec"] = None
    assert "read numbers" in (no_look_ahead(whole) or "")
