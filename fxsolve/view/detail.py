"""How much a picture tells: equations alone, with what they read and write, or with every call; and what runs them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from torch import fx

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import Repeat, System
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.plan.method import MethodNode
from fxsolve.plan.schedule import Schedule, parts_of
from fxsolve.plan.text import parse_schedule
from fxsolve.report.units import count
from fxsolve.view.cards import Card, Row, make_cards

Detail = Literal["loops", "equations", "ops"]
DETAILS: tuple[Detail, ...] = ("loops", "equations", "ops")
MOST_OPS = 60


def detailed_cards(system: System, schedule_text: str | None, detail: Detail) -> tuple[Card, ...]:
    """The cards of a system, each with the method that solves it where `schedule_text` is a schedule of it."""
    bodies = {equation.name: equation.body for equation in system.equations}
    schedule = _parsed(schedule_text, system)
    cards = (replace(card, how=_how(card.name, system, schedule)) for card in make_cards(system))
    return tuple(_detailed(card, bodies.get(card.name), detail) for card in cards)


def _detailed(card: Card, body: fx.GraphModule | None, detail: Detail) -> Card:
    match detail:
        case "loops":
            return replace(card, rows=tuple(row for row in card.rows if row.reads or row.writes), arcs=())
        case "equations":
            return card
        case "ops":
            return card if body is None else _with_ops(card, tuple(_op_rows(body)))


def _with_ops(card: Card, ops: tuple[Row, ...]) -> Card:
    """The calls between what is read and what is written."""
    reads = sum(row.kind != "write" for row in card.rows)
    rows = (*card.rows[:reads], *ops, *card.rows[reads:])
    arcs = tuple(replace(arc, writer=arc.writer + len(ops)) for arc in card.arcs)
    return replace(card, rows=rows, arcs=arcs)


def _op_rows(body: fx.GraphModule) -> Iterator[Row]:
    calls = [node for node in body.graph.nodes if node.op.startswith("call_")]
    for node in calls[:MOST_OPS]:
        called = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
        arguments = ", ".join(one.name for one in node.all_input_nodes)
        yield Row(node.name, "op", f"{called}({arguments}){_shape(node)}", "")
    if len(calls) > MOST_OPS:
        yield Row("...", "op", f"and {count(len(calls) - MOST_OPS, 'call')} more", "")


def _shape(node: fx.Node) -> str:
    spec = node.meta.get("spec")
    return f": {str(spec.dtype).removeprefix('torch.')}{list(spec.shape)}" if isinstance(spec, TensorSpec) else ""


def _parsed(text: str | None, system: System) -> Schedule | None:
    try:
        return parse_schedule(text, system) if text else None
    except ScheduleError:  # the original runs, for a reason that is given in the place of a schedule
        return None


def _how(name: str, system: System, schedule: Schedule | None) -> str:
    """in order, jacobi, or newton, 4 times."""
    repeat = next((one for one in system.repeats if one.name == name), None)
    if schedule is None or not isinstance(repeat, Repeat):
        return ""
    parts = parts_of(schedule, name)
    names = Counter(part.name if isinstance(part, MethodNode) else "in order" for part in parts)
    return ", then ".join(one if times == 1 else f"{one}, {times:,} windows" for one, times in names.items())
