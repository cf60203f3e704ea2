"""One step of a loop while it is written: its calls, what they read of steps before, and what stands in for these."""

import operator
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import OpenRepeat, close_repeat
from fxsolve.ir.spec import Invariant, Lag, Read, Slices, Table
from fxsolve.ir.tables import as_range
from fxsolve.loops.rolling.signature import Calls, map_arguments
from fxsolve.loops.stopping.backward import Back
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.loops.stopping.invariant import invariant_calls
from fxsolve.loops.stopping.results import Result, Stack, StepNumber, StoppingStep, Wanted
from fxsolve.structure.slots import Internal, SameValue, Slot, Value, Varying


@dataclass
class Building:
    """A step while it is written: what it is `given`, its `results`, and the node of every call that was `made`."""

    calls: Calls
    loop: FoundStop | Back
    opened: OpenRepeat
    given: dict[str, Value | Stack] = field(default_factory=dict)
    results: dict[str, Wanted] = field(default_factory=dict)
    made: dict[tuple[int, int], fx.Node] = field(default_factory=dict)
    known: dict[Hashable, fx.Node] = field(default_factory=dict)
    feeds: dict[fx.Node, tuple[int, int]] = field(default_factory=dict)
    past: dict[tuple[int, int, int], Value] = field(default_factory=dict)
    invariant: set[int] = field(default_factory=set)

    def build(self, results: tuple[Wanted, ...]) -> bool:
        """Write one step; whether there are values for all results where no step runs."""
        self.invariant = invariant_calls(self.calls, self.loop)
        self._find_past()
        slots, columns = iter(self.loop.slots), zip(*self.loop.numbers, strict=True)
        for position in range(self.loop.window.period):
            self._call(position, slots, columns)
        may_be_none = True
        for result in results:
            name = f"result{len(self.results)}"
            self.results[name] = result
            if isinstance(result, Stack):
                self.opened.steps[name] = self.made_at(result.position, result.output)
                may_be_none = False
                continue
            if isinstance(result, StepNumber):
                self.opened.lasts[name] = self._number_of(result)
                may_be_none = False
                continue
            node = self.opened.lasts[name] = self._result(result)
            may_be_none = self._stands_in(result, node) and may_be_none
        return may_be_none

    def close(self, may_be_none: bool) -> StoppingStep:
        for placeholder, place in self.feeds.items():
            self.opened.feeds[placeholder] = self.made_at(*place)
        repeat = close_repeat(self.opened)
        # Writes are in the order of their kinds.
        return StoppingStep(
            repeat, self.given, {one.name: self.results[one.name] for one in repeat.writes}, may_be_none
        )

    def made_at(self, position: int, output: int) -> fx.Node:
        """The node of an output of a call of the step."""
        if position in self.invariant:
            value = Value(self.loop.window.start + position, output)
            return self._read(value, value, Invariant)
        if (position, output) not in self.made:
            producer = self.made[position, -1]
            with self.opened.graph.inserting_after(producer):
                node = self.opened.graph.call_function(operator.getitem, (producer, output))
            node.meta.update(self.calls.node_of(Value(self.loop.window.start + position, output)).meta)
            self.made[position, output] = node
        return self.made[position, output]

    def name(self, value: Value | Stack) -> str:
        """The name of something that the loop is given."""
        for name, known in self.given.items():
            if known == value and type(known) is type(value):
                return name
        name = f"value{len(self.given)}"
        self.given[name] = value
        return name

    def _find_past(self) -> None:
        """What outputs were in steps before the first one, as far as the graph shows them."""
        window = self.loop.window
        aligned = self._aligned()
        slot_of = iter(self.loop.slots)
        for position in range(window.period):
            before = window.start - window.period + position
            arguments = self.calls.arguments(before) if position in aligned else []
            if arguments:
                self.past.setdefault((position, -1, 1), Value(before, -1))
            for number in range(len(self.calls.arguments(window.start + position))):
                slot = next(slot_of)
                if isinstance(slot, Internal) and slot.lag > 0:
                    for k, value in enumerate(slot.initial):
                        self.past.setdefault((slot.position, slot.output, slot.lag - k), value)
                if isinstance(slot, Internal) and arguments:
                    self.past.setdefault((slot.position, slot.output, slot.lag + 1), arguments[number])

    def _aligned(self) -> set[int]:
        """The calls of a step which are also made before the first one, at the same distance from its end."""
        window, labels = self.loop.window, self.calls.labels
        count = 0
        while count < min(window.period, window.start):
            if labels[window.start - 1 - count] != labels[window.start + window.period - 1 - count]:
                break
            count += 1
        return set(range(window.period - count, window.period))

    def _call(self, position: int, slots: Iterator[Slot], columns: Iterator[tuple[Any, ...]]) -> None:
        call = self.loop.window.start + position
        node = self.calls.nodes[call]
        own = [(next(slots), value) for value in self.calls.arguments(call)]
        numbers = [next(columns) for _ in self.calls.numbers_of(call)]
        if position in self.invariant:
            return
        tensors = [self._argument(slot, value) for slot, value in own]
        read = [self._number(column) for column in numbers]
        args, kwargs = map_arguments((node.args, node.kwargs), iter(tensors), iter(read))
        made = self.opened.graph.call_function(node.target, args, kwargs)  # pyright: ignore[reportArgumentType]
        made.meta.update(node.meta)
        self.made[position, -1] = made

    def _argument(self, slot: Slot, first: Value) -> fx.Node:
        match slot:
            case SameValue(value):
                return self._read(value, first, Invariant)
            case Internal(position, output, 0, _):
                return self.made_at(position, output)
            case Internal(position, output, _, initial):
                return self._carried((position, output), initial, first)
            case Varying(values) if isinstance(self.loop, Back):
                return self._sliced(self.loop, values, first)
        raise PartitionError("a step reads something by no rule")

    def _sliced(self, back: Back, values: tuple[Value, ...], first: Value) -> fx.Node:
        """Steps of the loop in front, from its end."""
        places = [back.place(value) for value in values]
        stack = Stack(places[0][1], values[0].output)
        index = tuple(step for step, _ in places)
        return self._read((stack, index), first, lambda _: Slices(self.name(stack), 0, index))

    def _carried(self, place: tuple[int, int], initial: tuple[Value, ...], like: Value) -> fx.Node:
        node = self._read((place, initial), like, lambda _: Lag(0, tuple(map(self.name, initial))))
        self.feeds[node] = place
        return node

    def _read(self, key: Hashable, like: Value, read: Any) -> fx.Node:
        if key not in self.known:
            name = self.name(key) if isinstance(key, Value) else ""
            made: Read = read(name)
            spec = self.calls.node_of(like).meta.get("spec")
            self.known[key] = self.opened.add_read(f"read{len(self.opened.reads)}", made, spec)
        return self.known[key]

    def _number(self, column: tuple[int | float, ...]) -> fx.Node | int | float:
        if len(set(map(repr, column))) == 1:
            return column[0]
        if ("numbers", column) not in self.known:
            made = self.opened.add_read(f"read{len(self.opened.reads)}", Table(column), None)
            self.known["numbers", column] = made
        return self.known["numbers", column]

    def _number_of(self, result: StepNumber) -> fx.Node:
        """A number of a step in front of the one that reads it; as if the steps had begun so much earlier."""
        column = tuple(numbers[result.column] for numbers in self.loop.numbers)
        counted, back = as_range(column), result.back
        before = range(counted.start - back * counted.step, counted.start, counted.step) if counted else column[:back]
        return self.opened.add_read(
            f"read{len(self.opened.reads)}", Table((*before, *column)[: self.loop.window.trips]), None
        )

    def _result(self, result: Result) -> fx.Node:
        """The node of a result; of an earlier step, what the last one is given of it."""
        if not result.back:
            return self.made_at(result.position, result.output)
        initial = self._initial(result, range(result.back, 0, -1))
        like = Value(self.loop.window.start + result.position, result.output)
        if initial is None:
            raise PartitionError("nothing shows what is read behind it where few steps run")
        return self._carried((result.position, result.output), initial, like)

    def _stands_in(self, result: Result, node: fx.Node) -> bool:
        """Whether there is a value for a result where no step runs; it is read from then on."""
        if node in self.opened.reads and isinstance(self.opened.reads[node], Invariant):
            return False
        initial = self._initial(result, range(result.back + 1, result.back, -1))
        if initial is None:
            return False
        like = Value(self.loop.window.start + result.position, result.output)
        if not result.back:
            if not any(place == (result.position, result.output) for place in self.feeds.values()):
                self._carried((result.position, result.output), initial, like)
            return True
        spec = self.calls.node_of(like).meta.get("spec")
        names = tuple(map(self.name, initial))
        placeholder = self.opened.add_read(f"read{len(self.opened.reads)}", Lag(0, names), spec)
        self.opened.feeds[placeholder] = node
        return True

    def _initial(self, result: Result, back: range) -> tuple[Value, ...] | None:
        found = [self.past.get((result.position, result.output, k)) for k in back]
        return None if None in found else tuple(found)  # pyright: ignore[reportReturnType]
