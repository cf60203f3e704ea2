"""Loops in loops: the system of a graph, in which the steps of a repeat may hold repeats themselves.

A loop is found from the outside: its steps are runs of equal calls, whatever these are. Where such a step holds loops
it is a small program of its own, so its body becomes a system in the same way, and the repeats of that system become
single calls (`Nested`) of the body. What would lose by that stays as it is, one straight line of calls or loops side by
side:

    a loop that is longer than the loops in its steps, where these have at most `FLAT_CALLS` calls: many of its steps
        can be batched, which a recurrence inside a step forbids, and of two loops the longer one is worth it
    where a loop inside reads a buffer whole: the proof that it may be swept would be needed for every outer step; but
        not where it grows, and its steps are a straight line otherwise
    where more than `_MOST_PICKED` single steps of the loops inside are read from outside, and are not the entries of a
        list that the loop carries whole
    a program with a backward pass
"""

from collections.abc import Callable, Collection
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


@dataclass(frozen=True)
class _Steps:
    """What stands for a repeat: the repeat itself, and blocks around it; with notes about the loops in its steps."""

    equations: list[Equation]
    notes: tuple[str, ...] = ()


# The loops of a graph whose tensors may grow: a graph where they work on buffers, its calls, its loops, and notes.
Find = Callable[[fx.Graph], tuple[fx.Graph, Calls, tuple[Rolled, ...], tuple[str, ...]]]


def nested_system(graph: fx.Graph, calls: Calls, loops: tuple[Rolled, ...], find: Find, prefix: str = "") -> Nests:
    """The system of `graph`, as `extract` gives it, with loops in the steps of its loops, found there by `find`."""
    if any("backward" in node.meta for node in calls.nodes):
        return Nests(extract(graph, calls, worth_rolling(graph, calls, loops), prefix))
    found = frozenset(loop.window for loop in loops)
    refused: dict[PeriodicWindow, str] = {}
    while True:
        outer = worth_rolling(graph, calls, loops_around(calls, loops, refused))
        nests, failed = _nest(find, extract(graph, calls, outer, prefix), outer, found)
        if not failed:
            return replace(nests, notes=(*refused.values(), *nests.notes))
        refused.update(failed)


def _nest(
    find: Find, system: System, loops: tuple[Rolled, ...], found: Collection[PeriodicWindow]
) -> tuple[Nests, dict[PeriodicWindow, str]]:
    """The system with loops in its steps; and the windows that were not `found` as loops, but hold none, with notes."""
    equations: list[Equation] = []
    notes: list[str] = []
    failed: dict[PeriodicWindow, str] = {}
    windows = iter(loop.window for loop in loops)
    for equation in system.equations:
        if isinstance(equation, Repeat):
            window = next(windows)
            try:
                made = _with_loops(find, equation) if window not in found else _where_it_pays(find, equation, window)
            except PartitionError as reason:
                made = _Steps([equation])
                if window not in found:
                    failed[window] = (
                        f"{window.trips} steps at {equation.source} with loops in them stay apart: {reason}"
                    )
            equations += made.equations
            notes += made.notes
        else:
            equations.append(equation)
    return Nests(replace(system, equations=tuple(equations)), tuple(notes)), failed


def _where_it_pays(find: Find, repeat: Repeat, window: PeriodicWindow) -> "_Steps":
    """A loop of straight steps, with the loops in them rolled if these are at least as long, or the steps too long."""
    if window.period < min(window.trips, FLAT_CALLS):
        return _Steps([repeat])
    nested = _with_loops(find, repeat)
    inside = (inner for part in nested.equations if isinstance(part, Repeat) for inner in loops_inside(part))
    longest = max((inner.length for inner in inside), default=0)
    return nested if longest >= window.trips or window.period > FLAT_CALLS else _Steps([repeat])


def _with_loops(find: Find, repeat: Repeat) -> "_Steps":
    """The repeat with the loops of its step rolled that are worth it, and blocks around it.

    Raises `PartitionError` where its step has none at all, or it must stay flat.
    """
    graph = repeat.body.graph
    calls = read_calls(graph, dead_views(graph))
    loops, notes = roll(calls).loops, tuple[str, ...]()
    grows = not loops
    if grows:
        # Without these, its steps are one straight line: there is no proof to lose.
        graph, calls, loops, notes = find(graph)
    if not loops:
        raise PartitionError(f"no loop was found in a step of {repeat.name}")
    nests = nested_system(graph, calls, loops, find, f"{repeat.name}_")
    if not nests.system.repeats:
        return _Steps([repeat])
    system = rewrite(hoist_invariants(nests.system))
    for inner in system.repeats if not grows else ():
        _check_buffers(inner)
    nested = replace(repeat, body=inline(system, repeat))
    if not loops_inside(nested):
        raise PartitionError(f"the loops in a step of {repeat.name} are not needed")
    bundled = bundle_carries(nested)
    _check_picks(next(part for part in bundled if isinstance(part, Repeat)))
    return _Steps(bundled, (*notes, *nests.notes))


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
