"""Write a recorded program with its loops that stop on a value as single calls, those of its backward pass among them.

steps of the loop     -> loop(...), which gives its last values, and stacks of those that the backward pass reads
steps along these     -> a loop along the stacks, from their ends
calls of a step that give the same in every step -> those of the first one, in front of the loop
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import fx

from fxsolve.capture.pause import paused_collector
from fxsolve.capture.program import Program
from fxsolve.errors import PartitionError
from fxsolve.ir.calls import dead_views
from fxsolve.loops.rolling.roll import roll
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.loops.stopping.find import FoundStop, find_stops
from fxsolve.loops.stopping.folding import Folding
from fxsolve.loops.stopping.one import StopFold
from fxsolve.torch_compat.graphs import Graph, LazyGraphModule


def fold_stops(program: Program) -> Program:
    """The program with every loop that stops on a value as one call, and without the guards of its reads."""
    if not any(type(guard.expected) is bool for guard in program.guards):
        return program
    with paused_collector():
        return _with_folds(program)


def _with_folds(program: Program) -> Program:
    recorded = program.module.graph
    # Most programs that read a condition have no such loop: it is looked for before the graph is copied.
    dead = dead_views(recorded)
    calls = read_calls(recorded, dead)
    stops = find_stops(program, calls, _guarded(program, recorded))
    if not stops.found:
        return replace(program, notes=(*program.notes, *stops.notes))
    copies: dict[fx.Node, fx.Node] = {}
    graph = Graph.copy_of(recorded, copies)
    for node in reversed([node for node in recorded.nodes if node in dead]):
        graph.erase_node(copies[node])
    calls = calls.of_copies(copies)
    loops = roll(calls).loops if program.backward is not None else ()
    folding = Folding(program, graph, calls, loops, list(stops.notes))
    for stop in stops.found:
        _fold(folding, stop)
    notes = (*program.notes, *folding.notes)
    if not folding.dropped:
        return replace(program, notes=notes)
    return replace(_folded(program, graph, folding.dropped), notes=notes)


def _guarded(program: Program, graph: fx.Graph) -> Sequence[fx.Node]:
    """What the guards of a program watch."""
    outputs: Any = graph.output_node().args[0]
    return outputs[len(program.example.outputs) :]


def _fold(folding: Folding, stop: FoundStop) -> None:
    """Write one loop as a call, or note why it stays."""
    source = folding.program.guards[stop.end.number].source
    try:
        one = StopFold(folding, stop, source)
        one.plan()
    except PartitionError as reason:
        folding.notes.append(f"{stop.window.trips} steps that stop on the value read at {source} stay: {reason}")
        return
    one.write()
    folding.dropped |= one.guards


def _folded(program: Program, graph: fx.Graph, dropped: set[int]) -> Program:
    first = len(program.example.outputs)
    outputs: Any = graph.output_node().args[0]
    kept = [k for k in range(len(program.guards)) if k not in dropped]
    graph.output_node().args = ((*outputs[:first], *(outputs[first + k] for k in kept)),)
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)
    graph.lint()
    module: fx.GraphModule = LazyGraphModule(program.module, graph, program.name)
    return replace(program, module=module, guards=tuple(program.guards[k] for k in kept))
