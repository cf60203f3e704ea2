"""The loops inside of a step are decided about on what the first step gives them."""

from dataclasses import replace
from operator import getitem

import torch
from torch import fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.builder import add_call
from fxsolve.ir.evaluate import run_repeat
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Invariant, Lag, LastStep, Repeat, Slices
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.arguments import Values
from fxsolve.plan.decision import Candidate, Choice
from fxsolve.plan.method import whole
from fxsolve.plan.methods import METHODS
from fxsolve.plan.nests import choose_inside
from fxsolve.plan.probe import ProbeRun, run_parts
from fxsolve.plan.trial import Situation
from fxsolve.solvers.stop import Stop
from tests.ir.by_hand import RNN, B, N, T

OUTER = 3


def nest() -> Repeat:
    """h <- the last state of a recurrence over the entries of u, from h."""
    (cell,) = RNN.system().repeats
    renamed = {"start": "h", "u": "u", "scaled": "w"}
    inner = replace(cell, reads=tuple(read.renamed(renamed.__getitem__) for read in cell.reads))
    nested = Nested(replace(inner, writes=(LastStep("last", 0),)))
    graph = fx.Graph()
    forms = {"h": (B, N), "u": (T, B, N), "w": (N, N)}
    nodes = {name: add_placeholder(graph, name, spec_of(torch.empty(form))) for name, form in forms.items()}
    call = add_call(graph, nested, tuple(nodes[name] for name in nested.inputs))
    graph.output((add_call(graph, getitem, (call, 0)),))
    reads = (Lag(0, ("first",)), Slices("us", 0, tuple(range(OUTER))), Invariant("w"))
    return Repeat("outer", fx.GraphModule({}, graph), OUTER, reads, (LastStep("result", 0),))


def test_each_is_chosen_once_on_the_values_of_the_first_step() -> None:
    repeat, generator = nest(), torch.Generator().manual_seed(0)
    named = {
        name: torch.randn(*form, generator=generator)
        for name, form in (("first", (B, N)), ("us", (OUTER, T, B, N)), ("w", (N, N)))
    }
    asked: list[Situation] = []

    def choose(situation: Situation) -> tuple[Choice, ProbeRun]:
        asked.append(situation)
        parts = (whole(situation.repeat),)
        chosen = Candidate("cell", "eager", 1.0, "measured", "a test")
        return Choice("cell", parts, chosen), run_parts(situation.repeat, situation.values, parts)

    with torch.no_grad():
        choices = choose_inside(Situation(repeat, Values(named), {}, Stop(), "eager", methods=METHODS), choose)
    assert [choice.repeat for choice in choices] == ["cell"]
    (inner,) = asked
    assert inner.solves == OUTER
    assert torch.equal(inner.values.named["h"], named["first"])
    assert torch.equal(inner.values.named["u"], named["us"][0])
    with torch.no_grad():
        assert set(run_repeat(repeat, named)) == {"result"}
