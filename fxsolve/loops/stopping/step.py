"""One step of a loop that stops on a value, or along what one did, as a repeat, and what the loop starts from."""

import operator
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import OpenRepeat, OpenUntil, close_repeat
from fxsolve.ir.spec import Along, Invariant, Lag, Read, Repeat, Slices, Table
from fxsolve.loops.rolling.signature import Calls, map_arguments
from fxsolve.loops.stopping.backward import Back
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.structure.slots import Internal, SameValue, Slot, Value, Varying

aten = torch.ops.aten


@dataclass(frozen=True)
class Stack:
    """All steps of output `output` of call `position`."""

    position: int
    output: int


@dataclass(frozen=True)
class Result:
    """A value that is read behind the loop: output `output` of call `position`, `back` steps before the last one."""

    position: int
    output: int
    back: int


@dataclass(frozen=True)
class StoppingStep:
    """A repeat; the values behind the names that it reads, some of them stacks; what stands behind those it writes."""

    repeat: Repeat
    given: dict[str, Value | Stack]
    results: dict[str, Result | Stack]
    may_be_none: bool  # whether there are results where no step runs


def build_stop(
    calls: Calls, stop: FoundStop, results: Iterable[Result | Stack], fewest: int, name: str, source: str
) -> StoppingStep:
    """The loop as a repeat, of which no fewer than `fewest` steps can run.

    Raises `PartitionError` where a result has no value in steps before the first one, which are needed.
    """
    building = _Building(calls, stop, OpenRepeat(name, stop.window.trips, source, fx.Graph()))
    may_be_none = building.build(tuple(results)) and fewest == 0
    last = stop.window.stop - stop.window.period
    checks = tuple((_read(building.made_at(read.call - last, -1)), bool(read.value)) for read in stop.checks)
    before = building.name(Value(stop.before.call, -1)) if may_be_none else ""
    end = _read(building.made_at(stop.window.period - 1, -1))
    least = stop.window.trips
    building.opened.until = OpenUntil(end, stop.end.value, before, checks, least, 0 if before else max(fewest, 1))
    return building.close(may_be_none)


def _read(node: fx.Node) -> fx.Node:
    """What a guard copies, as it may be written over later; nothing writes between two steps."""
    source = node.args[0] if node.target is aten.clone.default else node
    assert isinstance(source, fx.Node)
    return source


def build_back(calls: Calls, back: Back, results: Iterable[Result], name: str, source: str) -> StoppingStep:
    """The loop along stacks as a repeat. Raises `PartitionError` as `build_stop`."""
    building = _Building(calls, back, OpenRepeat(name, back.window.trips, source, fx.Graph()))
    may_be_none = building.build(tuple(results))
    building.opened.until = Along(back.length, back.length - back.window.trips)
    return building.close(may_be_none)


def invariant_calls(calls: Calls, loop: FoundStop | Back) -> set[int]:
    """The calls of a step, by position, that give the same in every step; not those that are read."""
    found: set[int] = set()
    slots, columns = iter(loop.slots), zip(*loop.numbers, strict=True)
    read = {-1} if isinstance(loop, Back) else {loop.window.period - 1}
    if isinstance(loop, FoundStop):
        read |= {one.call - loop.window.stop + loop.window.period for one in loop.checks}
    for position in range(loop.window.period):
        call = loop.window.start + position
        own = [next(slots) for _ in calls.arguments(call)]
        numbers = [next(columns) for _ in calls.numbers_of(call)]
        same = all(_is_same(slot, found) for slot in own) and all(len(set(map(repr, one))) == 1 for one in numbers)
        if same and own and position not in read:
            found.add(position)
    return found


def _is_same(slot: Slot, invariant: set[int]) -> bool:
    return isinstance(slot, SameValue) or (isinstance(slot, Internal) and slot.lag == 0 and slot.position in invariant)


@dataclass
class _Building:
    calls: Calls
    loop: FoundStop | Back
    opened: OpenRepeat
    given: dict[str, Value | Stack] = field(default_factory=dict)
    results: dict[str, Result | Stack] = field(default_factory=dict)
    made: dict[tuple[int, int], fx.Node] = field(default_factory=dict)
    known: dict[Hashable, fx.Node] = field(default_factory=dict)
    feeds: dict[fx.Node, tuple[int, int]] = field(default_factory=dict)
    past: dict[tuple[int, int, int], Value] = field(default_factory=dict)
    invariant: set[int] = field(default_factory=set)

    def build(self, results: tuple[Result | Stack, ...]) -> bool:
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
