"""One loop that stops on a value, and those of the backward pass along it, written into a graph as single calls."""

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Until
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.rolling.signature import map_arguments
from fxsolve.loops.stopping.backward import MOST_BACK, Back, find_backs, unlike
from fxsolve.loops.stopping.end_numbers import end_numbers
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.loops.stopping.folding import Folding
from fxsolve.loops.stopping.invariant import invariant_calls
from fxsolve.loops.stopping.origins import origins_of
from fxsolve.loops.stopping.results import Result, Stack, StepNumber, StoppingStep, Wanted
from fxsolve.loops.stopping.step import build_back, build_stop
from fxsolve.structure.slots import Value

aten = torch.ops.aten


class StopFold:
    """One loop, and those of the backward pass along it: planned first, for nothing is written where that fails."""

    def __init__(self, folding: Folding, stop: FoundStop, source: str) -> None:
        self._folding, self._stop, self._source = folding, stop, source
        self._calls, self._graph = folding.calls, folding.graph
        self._invariant = invariant_calls(self._calls, stop)
        self._origins = origins_of(self._calls, stop.window)
        self._backs = tuple(find_backs(self._calls, stop, self._origins, self._invariant, folding.loops))
        self._unlike = unlike(self._calls, self._origins, stop.window, self._backs)
        self._numbers: dict[tuple[int, int], StepNumber] = {}  # of calls that stay
        # each loop with its calls that give the same in every step
        backs = ((back, invariant_calls(self._calls, back)) for back in self._backs)
        self._fixed: tuple[tuple[FoundStop | Back, set[int]], ...] = ((stop, self._invariant), *backs)
        self._steps: list[tuple[Back, StoppingStep]] = []
        self._gone = dict.fromkeys(node for loop, invariant in self._fixed for node in self._nodes(loop, invariant))
        self._results: dict[Value, Wanted] = {}  # values of the loop that are read elsewhere
        self._firsts: dict[Value, int] = {}  # those of its first steps, by step
        self._loop: StoppingStep
        self.guards = set(stop.guards)

    def _nodes(self, loop: FoundStop | Back, invariant: set[int]) -> Iterable[fx.Node]:
        """What the steps compute, in order, but for calls of the first step that all others repeat."""
        window = loop.window
        for node in self._folding.nodes_of(window):
            place = self._calls.values[node].call - window.start
            if place >= window.period or place not in invariant:
                yield node

    def plan(self) -> None:
        """Build the loops. Raises `PartitionError` with a reason."""
        if self._unlike is not None:
            target = self._calls.nodes[self._unlike].target
            raise PartitionError(f"{target} of their backward pass is in no loop that has as many steps")
        for number, back in enumerate(self._backs):
            read = sorted({self._result(back, value) for value in self._read_outside(back)}, key=repr)
            name = f"{self._name()}_back{number}"
            self._steps.append((back, build_back(self._calls, self._stop, back, read, name, self._source)))
        self._numbers = end_numbers(self._calls, self._stop, self._origins, self._backs)
        results = self._wanted_results()
        if not results:
            raise PartitionError("nothing that they compute is read behind them")
        self._loop = build_stop(self._calls, self._stop, results, self._fewest(), self._name(), self._source)
        if isinstance(self._loop.repeat.until, Until) and self._loop.repeat.until.before:
            self.guards.add(self._stop.before.number)

    def _wanted_results(self) -> list[Wanted]:
        """What is read of the loop, behind it and by those along it."""
        stacks = {one for _, step in self._steps for one in step.given.values() if isinstance(one, Stack)}
        given = (value for _, step in self._steps for value in step.given.values() if isinstance(value, Value))
        for value in dict.fromkeys((*self._read_outside(self._stop), *filter(self._is_own, given))):
            self._want(value)
        results: list[Wanted] = [*dict.fromkeys(self._results.values())]
        return [*results, *sorted(stacks - {*results}, key=repr), *dict.fromkeys(self._numbers.values())]

    def _fewest(self) -> int:
        """Fewer steps than these cannot be run."""
        fewest = [back.length - back.window.trips + (not step.may_be_none) for back, step in self._steps]
        fewest += [step + 1 for step in self._firsts.values()]
        return max([*fewest, *(number.back + 1 for number in self._numbers.values())], default=0)

    def _name(self) -> str:
        return f"while{len(self._folding.made)}"

    def _is_own(self, value: Value) -> bool:
        return self._stop.window.start <= value.call < self._stop.window.stop

    def _read_outside(self, loop: FoundStop | Back) -> Iterable[Value]:
        """The values of a loop that calls read which stay, or that are results."""
        window, wanted = loop.window, set(self._wanted())
        for node in self._gone:
            value = self._calls.values[node]
            if not window.start <= value.call < window.stop:
                continue
            if node in wanted or any(user not in self._gone and user.op != "output" for user in node.users):
                yield value

    def _wanted(self) -> Iterable[fx.Node]:
        """What the program returns, and what other guards watch."""
        outputs: Any = self._graph.output_node().args[0]
        first = len(self._folding.program.example.outputs)
        for number, node in enumerate(outputs):
            if node is not None and (number < first or number - first not in self.guards):
                yield node

    def _want(self, value: Value) -> None:
        step, position = divmod(value.call - self._stop.window.start, self._stop.window.period)
        if position in self._invariant:
            return
        if self._backs and step <= MOST_BACK:
            self._firsts[value] = step
            self._results[value] = Stack(position, value.output)
            return
        self._results[value] = self._result(self._stop, value)

    def _result(self, loop: FoundStop | Back, value: Value) -> Result:
        step, position = divmod(value.call - loop.window.start, loop.window.period)
        back = loop.window.trips - 1 - step
        if back > MOST_BACK:
            raise PartitionError("values of many of them are read behind the loop")
        return Result(position, value.output, back)

    def write(self) -> None:
        """Put the loops into the graph."""
        outputs: Any = self._graph.output_node().args[0]
        first = len(self._folding.program.example.outputs)
        left = (None if number - first in self.guards else node for number, node in enumerate(outputs))
        self._graph.output_node().args = (tuple(left),)
        found = self._write(self._stop, self._loop, {})
        for value in self._firsts:
            found[value] = self._select(found[value], self._firsts[value])
        stacks = {one: node for one, node in found.items() if isinstance(one, Stack)}
        for back, step in self._steps:
            found |= self._write(back, step, {**stacks, **found})
        self._read_numbers(found)
        self._replace(found)

    def _write(self, loop: FoundStop | Back, step: StoppingStep, known: dict[Any, fx.Node]) -> dict[Any, fx.Node]:
        """One loop as a call behind its first step; the nodes of its values, and of its stacks."""
        nested = self._folding.share(step.repeat)
        window, is_back = loop.window, {"backward": True} if isinstance(loop, Back) else {}
        nodes = {name: known[value] if value in known else self._node(value) for name, value in step.given.items()}
        picked: dict[Any, fx.Node] = {}
        with self._graph.inserting_before(self._calls.nodes[window.start + window.period]):
            call = self._graph.call_function(nested, tuple(nodes[name] for name in nested.inputs))
            for number, result in enumerate(step.results.values()):
                picked[result] = self._graph.call_function(operator.getitem, (call, number))
                picked[result].meta.update(spec=self._spec(loop, result), source=self._source, **is_back)
        call.meta.update(spec=tuple(node.meta["spec"] for node in picked.values()), source=self._source, **is_back)
        found: dict[Any, fx.Node] = {one: node for one, node in picked.items() if not isinstance(one, Result)}
        for result in step.results.values():
            if isinstance(result, Result):
                call_of = window.start + (window.trips - 1 - result.back) * window.period + result.position
                found[Value(call_of, result.output)] = picked[result]
        if isinstance(loop, FoundStop):
            found |= {value: picked[self._results[value]] for value in self._firsts}
        return found

    def _node(self, value: Any) -> fx.Node:
        if self._is_own(value) and (value.call - self._stop.window.start) % self._stop.window.period in self._invariant:
            position = (value.call - self._stop.window.start) % self._stop.window.period
            value = Value(self._stop.window.start + position, value.output)
        return self._calls.node_of(value)

    def _spec(self, loop: FoundStop | Back, result: Wanted) -> TensorSpec | None:
        if isinstance(result, StepNumber):
            return None
        value = Value(loop.window.start + result.position, result.output)
        spec: TensorSpec = self._calls.node_of(value).meta["spec"]
        if isinstance(result, Result):
            return spec
        shape = (loop.window.trips, *spec.shape)
        return spec._replace(shape=shape, stride=torch.empty(shape, device="meta").stride())

    def _select(self, stack: fx.Node, step: int) -> fx.Node:
        with self._graph.inserting_after(stack):
            node = self._graph.call_function(aten.select.int, (stack, 0, step))
        spec = stack.meta["spec"]
        node.meta.update(stack.meta, spec=spec._replace(shape=spec.shape[1:], stride=spec.stride[1:]))
        return node

    def _read_numbers(self, found: dict[Any, fx.Node]) -> None:
        """Let calls that stay read the numbers of the steps that ran."""
        for call in {call for call, _ in self._numbers}:
            node, own = self._calls.nodes[call], enumerate(self._calls.numbers_of(call))
            read = [found[self._numbers[call, k]] if (call, k) in self._numbers else one for k, one in own]
            tensors = map(self._calls.node_of, self._calls.arguments(call))
            node.args, node.kwargs = map_arguments((node.args, node.kwargs), tensors, iter(read))

    def _replace(self, found: dict[Any, fx.Node]) -> None:
        """Let what stays read the loops, and erase their steps."""
        for node in self._gone:
            value = self._calls.values[node]
            new = found[value] if value in found else self._repeated(value)
            if new is not None and new is not node:
                node.replace_all_uses_with(new, lambda user: user not in self._gone)
        read = {user: None for node in self._gone for user in node.users if user.op == "call_function"}
        for node in sorted({**self._gone, **read}, reverse=True):
            self._graph.erase_node(node)

    def _repeated(self, value: Value) -> fx.Node | None:
        """The call of the first step that gives the same as one of a later step."""
        for loop, invariant in self._fixed:
            place = value.call - loop.window.start
            if 0 <= place < loop.window.period * loop.window.trips:
                position = place % loop.window.period
                if position in invariant:
                    return self._calls.node_of(Value(loop.window.start + position, value.output))
        return None
