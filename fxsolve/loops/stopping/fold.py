"""Write a recorded program with its loops that stop on a value as single calls."""

import operator
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx

from fxsolve.capture.program import Program
from fxsolve.ir.calls import dead_views
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Repeat
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.loops.stopping.find import Stop, find_stops
from fxsolve.loops.stopping.step import Result, Step, build_step

_MOST_BACK = 2  # steps before the last one whose values are read behind the loop


def fold_stops(program: Program) -> Program:
    """The program with every loop that stops on a value as one call, and without the guards of its reads."""
    if not any(type(guard.expected) is bool for guard in program.guards):
        return program
    first = len(program.example.outputs)
    graph = fx.Graph()
    graph.output(graph.graph_copy(program.module.graph, {}))
    outputs: Any = graph.output_node().args[0]
    calls = read_calls(graph, dead_views(graph))
    stops = find_stops(program, calls, outputs[first:])
    folding = _Folding(program, graph, calls, list(stops.notes))
    for stop in stops.found:
        folding.fold(stop)
    notes = (*program.notes, *folding.notes)
    if not folding.dropped:
        return replace(program, notes=notes)
    return replace(_folded(program, graph, folding.dropped), notes=notes)


def _folded(program: Program, graph: fx.Graph, dropped: set[int]) -> Program:
    first = len(program.example.outputs)
    outputs: Any = graph.output_node().args[0]
    kept = [k for k in range(len(program.guards)) if k not in dropped]
    graph.output_node().args = ((*outputs[:first], *(outputs[first + k] for k in kept)),)
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)
    graph.lint()
    module = fx.GraphModule(program.module, graph, program.name)
    return replace(program, module=module, guards=tuple(program.guards[k] for k in kept))


@dataclass
class _Folding:
    """The graph while its loops are folded, the guards that are `dropped` by that, and the loops made so far."""

    program: Program
    graph: fx.Graph
    calls: Calls
    notes: list[str]
    dropped: set[int] = field(default_factory=set)
    made: dict[Hashable, Nested] = field(default_factory=dict)

    def fold(self, stop: Stop) -> None:
        """Write one loop as a call, or note why it stays."""
        source = self.program.guards[stop.end.number].source
        inside = self._inside(stop)
        read = self._read_behind(stop, inside)
        step = None
        if read is not None and read:
            step = build_step(self.calls, stop, dict.fromkeys(read.values()), f"while{len(self.made)}", source)
        if read is None or step is None:
            why = "values of many of them are read behind the loop" if read is None else "nothing shows its results"
            self.notes.append(f"{stop.window.trips} steps that stop on the value read at {source} stay: {why}")
            return
        self._replace(stop, step, read, inside)
        self.dropped |= stop.guards
        if step.repeat.until is not None and step.repeat.until.before:
            self.dropped.add(stop.before.number)

    def _inside(self, stop: Stop) -> set[fx.Node]:
        """The calls of the steps, with what picks their results."""
        steps = self.calls.nodes[stop.window.start : stop.window.stop]
        return {*steps, *(user for node in steps for user in node.users if user.target is operator.getitem)}

    def _read_behind(self, stop: Stop, inside: set[fx.Node]) -> dict[fx.Node, Result] | None:
        """The nodes of the steps that are read behind them; None where this is so in too many steps."""
        results: dict[fx.Node, Result] = {}
        wanted = set(self._wanted(stop))
        for node in inside:
            if node in wanted or any(user not in inside and user.op != "output" for user in node.users):
                value = self.calls.values[node]
                step, position = divmod(value.call - stop.window.start, stop.window.period)
                back = stop.window.trips - 1 - step
                if back > _MOST_BACK:
                    return None
                results[node] = Result(position, value.output, back)
        return results

    def _wanted(self, stop: Stop) -> Iterator[fx.Node]:
        """What the program returns, and what other guards watch."""
        outputs: Any = self.graph.output_node().args[0]
        first = len(self.program.example.outputs)
        for number, node in enumerate(outputs):
            if number < first or number - first not in stop.guards:
                yield node

    def _replace(self, stop: Stop, step: Step, read: dict[fx.Node, Result], inside: set[fx.Node]) -> None:
        nested = self._shared(step.repeat)
        given = {name: self.calls.node_of(value) for name, value in step.given.items()}
        names = {result: k for k, result in enumerate(step.results.values())}
        specs = {result: node.meta["spec"] for node, result in read.items()}
        with self.graph.inserting_before(self.calls.nodes[stop.window.start]):
            loop = self.graph.call_function(nested, tuple(given[name] for name in nested.inputs))
            loop.meta.update(spec=tuple(specs[result] for result in names), source=step.repeat.source)
            picked = {result: self.graph.call_function(operator.getitem, (loop, k)) for result, k in names.items()}
        for node, result in read.items():
            picked[result].meta.update(spec=node.meta["spec"], source=node.meta.get("source", ""))
            node.replace_all_uses_with(picked[result], lambda user: user not in inside)
        self._drop(stop, inside)

    def _drop(self, stop: Stop, inside: set[fx.Node]) -> None:
        """Erase the steps. What their guards watched is no output any more."""
        outputs: Any = self.graph.output_node().args[0]
        first = len(self.program.example.outputs)
        self.graph.output_node().args = (
            tuple(None if k - first in stop.guards else node for k, node in enumerate(outputs)),
        )
        for node in reversed(self.graph.nodes):
            if node in inside or (node.op == "call_function" and set(node.all_input_nodes) & inside):
                self.graph.erase_node(node)

    def _shared(self, repeat: Repeat) -> Nested:
        """One object for all loops with the same steps, so that a loop around them finds them equal."""
        graph = repeat.body.graph
        calls = tuple((node.op, node.target, repr(node.args), repr(node.kwargs)) for node in graph.nodes)
        specs = tuple(repr(node.meta.get("spec")) for node in graph.nodes)
        until = replace(repeat.until, least=0) if repeat.until is not None else None
        key = (calls, specs, repr(repeat.reads), repeat.writes, until, repeat.source)
        nested = self.made.setdefault(key, Nested(repeat))
        known = nested.repeat
        if known is not repeat and known.until is not None and repeat.until is not None:
            least = min(known.until.least, repeat.until.least)
            longer = max(known.length, repeat.length)
            widened = replace(known, length=longer, until=replace(known.until, least=least))
            object.__setattr__(nested, "repeat", widened)
        return nested
