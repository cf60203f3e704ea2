"""Loops in loops: the system of a graph, in which the steps of a repeat may hold repeats themselves.

A loop is found from the outside: its steps are runs of equal calls, whatever these are. Where such a step holds loops
it is a small program of its own, so its body becomes a system in the same way, and the repeats of that system become
single calls (`Nested`) of the body. What would lose by that stays as it is, one straight line of calls or loops side by
side:

    a loop that is longer than the loops in its steps, where these have at most `FLAT_CALLS` calls: many of its steps
        can be batched, which a recurrence inside a step forbids, and of two loops the longer one is worth it
    where a loop inside reads a buffer whole: the proof that it may be swept would be needed for every outer step
    where more than `_MOST_PICKED` single steps of the loops inside are read from outside, and are not the entries of a
        list that the loop carries whole
    a program with a backward pass
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.calls import dead_views
from fxsolve.ir.nested import Nested, loops_inside
from fxsolve.ir.spec import Equation, Prefix, Repeat, System
from fxsolve.loops.nesting.bundle import bundle_carries
from fxsolve.loops.nesting.inline import inline
from fxsolve.loops.nesting.outer import loops_around
from fxsolve.loops.rolling.extract import extract
from fxsolve.loops.rolling.roll import Rolled, roll
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.loops.rolling.worth import worth_rolling
from fxsolve.lower.batch import MAX_CALLS
from fxsolve.rewrite.pipeline import hoist_invariants, rewrite
from fxsolve.structure.slots import PeriodicWindow

aten = torch.ops.aten

FLAT_CALLS = MAX_CALLS
_MOST_PICKED = 4


@dataclass(frozen=True)
class Nests:
    """A system, and a note for each loop around others that was found but not rolled."""

    system: System
    notes: tuple[str, ...] = ()


def nested_system(graph: fx.Graph, calls: Calls, loops: tuple[Rolled, ...], prefix: str = "") -> Nests:
    """The system of `graph`, as `extract` gives it, with loops in the steps of its loops."""
    if any("backward" in node.meta for node in calls.nodes):
        return Nests(extract(graph, calls, worth_rolling(graph, calls, loops), prefix))
    found = frozenset(loop.window for loop in loops)
    refused: dict[PeriodicWindow, str] = {}
    while True:
        outer = worth_rolling(graph, calls, loops_around(calls, loops, refused))
        system, failed = _nest(extract(graph, calls, outer, prefix), outer, found)
        if not failed:
            return Nests(system, tuple(refused.values()))
        refused.update(failed)


def _nest(
    system: System, loops: tuple[Rolled, ...], found: Collection[PeriodicWindow]
) -> tuple[System, dict[PeriodicWindow, str]]:
    """The system with loops in its steps; and the windows that were not `found` as loops, but hold none, with notes."""
    equations: list[Equation] = []
    failed: dict[PeriodicWindow, str] = {}
    windows = iter(loop.window for loop in loops)
    for equation in system.equations:
        if isinstance(equation, Repeat):
            window = next(windows)
            try:
                made = _with_loops(equation) if window not in found else _where_it_pays(equation, window)
            except PartitionError as reason:
                made = [equation]
                if window not in found:
                    failed[window] = (
                        f"{window.trips} steps at {equation.source} with loops in them stay apart: {reason}"
                    )
            equations += made
        else:
            equations.append(equation)
    return replace(system, equations=tuple(equations)), failed


def _where_it_pays(repeat: Repeat, window: PeriodicWindow) -> list[Equation]:
    """A loop of straight steps, with the loops in them rolled if these are at least as long, or the steps too long."""
    if window.period < min(window.trips, FLAT_CALLS):
        return [repeat]
    nested = _with_loops(repeat)
    inside = (inner for part in nested if isinstance(part, Repeat) for inner in loops_inside(part))
    longest = max((inner.length for inner in inside), default=0)
    return nested if longest >= window.trips or window.period > FLAT_CALLS else [repeat]


def _with_loops(repeat: Repeat) -> list[Equation]:
    """The repeat with the loops of its step rolled that are worth it, and blocks around it.

    Raises `PartitionError` where its step has none at all, or it must stay flat.
    """
    graph = repeat.body.graph
    calls = read_calls(graph, dead_views(graph))
    loops = roll(calls).loops
    if not loops:
        raise PartitionError(f"no loop was found in a step of {repeat.name}")
    found = nested_system(graph, calls, loops, f"{repeat.name}_").system
    if not found.repeats:
        return [repeat]
    system = rewrite(hoist_invariants(found))
    for inner in system.repeats:
        _check_buffers(inner)
    nested = replace(repeat, body=inline(system, repeat))
    if not loops_inside(nested):
        raise PartitionError(f"the loops in a step of {repeat.name} are not needed")
    bundled = bundle_carries(nested)
    _check_picks(next(part for part in bundled if isinstance(part, Repeat)))
    return bundled


def _check_buffers(repeat: Repeat) -> None:
    for node, read in zip(repeat.body.graph.find_nodes(op="placeholder"), repeat.reads, strict=True):
        if isinstance(read, Prefix) and node.users:
            raise PartitionError(f"{repeat.name} reads a buffer whole")


def _check_picks(repeat: Repeat) -> None:
    results = repeat.body.graph.output_node().args[0]
    picked = sum(_is_picked(node) for node in results)  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    if picked > _MOST_PICKED:
        raise PartitionError(
            f"{picked} single steps of loops inside {repeat.name} are read from outside, more than {_MOST_PICKED}"
        )


def _is_picked(node: fx.Node) -> bool:
    """Whether a result is one step of a loop inside, laid out anew or not."""
    source = node.args[1] if node.target is aten.copy.default else node
    if not isinstance(source, fx.Node) or source.target is not aten.select.int:
        return False
    stack = source.args[0]
    producer = stack.args[0] if isinstance(stack, fx.Node) and stack.args else None
    return isinstance(producer, fx.Node) and isinstance(producer.target, Nested)
