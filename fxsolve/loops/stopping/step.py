"""One step of a loop that stops on a value, as a repeat, and what the loop starts from."""

import operator
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from torch import fx

from fxsolve.ir.bodies import OpenRepeat, OpenUntil, close_repeat
from fxsolve.ir.spec import Invariant, Lag, Repeat, Table
from fxsolve.loops.rolling.signature import Calls, map_arguments
from fxsolve.loops.stopping.find import Stop
from fxsolve.structure.slots import Internal, SameValue, Value


@dataclass(frozen=True)
class Result:
    """A value that is read behind the loop: output `output` of call `position`, `back` steps before the last one."""

    position: int
    output: int
    back: int


@dataclass(frozen=True)
class Step:
    """A repeat; the values behind the names that it reads; and the results behind the names that it writes."""

    repeat: Repeat
    given: dict[str, Value]
    results: dict[str, Result]


def build_step(calls: Calls, stop: Stop, results: Iterable[Result], name: str, source: str) -> Step | None:
    """The loop as a repeat; None where a result has no value in steps before the first one that are needed."""
    return _Building(calls, stop, OpenRepeat(name, stop.window.trips, source, fx.Graph())).build(tuple(results))


@dataclass
class _Building:
    calls: Calls
    stop: Stop
    opened: OpenRepeat
    given: dict[str, Value] = field(default_factory=dict)
    made: dict[tuple[int, int], fx.Node] = field(default_factory=dict)
    known: dict[Hashable, fx.Node] = field(default_factory=dict)
    feeds: dict[fx.Node, tuple[int, int]] = field(default_factory=dict)
    past: dict[tuple[int, int, int], Value] = field(default_factory=dict)

    def build(self, results: tuple[Result, ...]) -> Step | None:
        self._find_past()
        slots, columns = iter(self.stop.slots), zip(*self.stop.numbers, strict=True)
        for position in range(self.stop.window.period):
            self._call(position, slots, columns)
        names = {f"result{k}": result for k, result in enumerate(results)}
        may_be_none = True
        for name, result in names.items():
            node = self._result(result)
            if node is None:
                return None
            self.opened.lasts[name] = node
            may_be_none = self._stands_in(result, node) and may_be_none
        for placeholder, place in self.feeds.items():
            self.opened.feeds[placeholder] = self._made(*place)
        self.opened.until = self._until(may_be_none)
        return Step(close_repeat(self.opened), self.given, names)

    def _until(self, may_be_none: bool) -> OpenUntil:
        window, end = self.stop.window, self.stop.end
        last = window.stop - window.period
        checks = tuple((self._made(read.call - last, -1), bool(read.value)) for read in self.stop.checks)
        before = self._name(Value(self.stop.before.call, -1)) if may_be_none else ""
        return OpenUntil(self._made(window.period - 1, -1), end.value, before, checks, window.trips)

    def _find_past(self) -> None:
        """What outputs were in steps before the first one, as far as the graph shows them."""
        window = self.stop.window
        aligned = self._aligned()
        slot_of = iter(self.stop.slots)
        for position in range(window.period):
            before = window.start - window.period + position
            arguments = self.calls.arguments(before) if position in aligned else []
            for number in range(len(self.calls.arguments(window.start + position))):
                slot = next(slot_of)
                if isinstance(slot, Internal) and slot.lag > 0:
                    for k, value in enumerate(slot.initial):
                        self.past.setdefault((slot.position, slot.output, slot.lag - k), value)
                if isinstance(slot, Internal) and arguments:
                    self.past.setdefault((slot.position, slot.output, slot.lag + 1), arguments[number])

    def _aligned(self) -> set[int]:
        """The calls of a step which are also made before the first one, at the same distance from the read."""
        window, labels = self.stop.window, self.calls.labels
        count = 0
        while count < min(window.period, window.start):
            if labels[window.start - 1 - count] != labels[window.start + window.period - 1 - count]:
                break
            count += 1
        return set(range(window.period - count, window.period))

    def _call(self, position: int, slots, columns) -> None:
        node = self.calls.nodes[self.stop.window.start + position]
        call = self.stop.window.start + position
        tensors = [self._argument(next(slots), value) for value in self.calls.arguments(call)]
        numbers = [self._number(next(columns)) for _ in self.calls.numbers_of(call)]
        args, kwargs = map_arguments((node.args, node.kwargs), iter(tensors), iter(numbers))
        made = self.opened.graph.call_function(node.target, args, kwargs)  # pyright: ignore[reportArgumentType]
        made.meta.update(node.meta)
        self.made[position, -1] = made

    def _made(self, position: int, output: int) -> fx.Node:
        if (position, output) not in self.made:
            producer = self.made[position, -1]
            with self.opened.graph.inserting_after(producer):
                node = self.opened.graph.call_function(operator.getitem, (producer, output))
            node.meta.update(self.calls.node_of(Value(self.stop.window.start + position, output)).meta)
            self.made[position, output] = node
        return self.made[position, output]

    def _argument(self, slot, first: Value) -> fx.Node:
        if isinstance(slot, SameValue):
            return self._read(slot.value, first, lambda name: Invariant(name))
        assert isinstance(slot, Internal)
        if slot.lag == 0:
            return self._made(slot.position, slot.output)
        return self._carried((slot.position, slot.output), slot.initial, first)

    def _carried(self, place: tuple[int, int], initial: tuple[Value, ...], like: Value) -> fx.Node:
        node = self._read((place, initial), like, lambda _: Lag(0, tuple(map(self._name, initial))))
        self.feeds[node] = place
        return node

    def _read(self, key: Hashable, like: Value, read) -> fx.Node:
        if key not in self.known:
            name = self._name(like) if isinstance(key, Value) else ""
            spec = self.calls.node_of(like).meta.get("spec")
            self.known[key] = self.opened.add_read(f"read{len(self.opened.reads)}", read(name), spec)
        return self.known[key]

    def _name(self, value: Value) -> str:
        for name, known in self.given.items():
            if known == value:
                return name
        name = f"value{len(self.given)}"
        self.given[name] = value
        return name

    def _number(self, column: tuple[int | float, ...]) -> fx.Node | int | float:
        if len(set(map(repr, column))) == 1:
            return column[0]
        if column not in self.known:
            self.known[column] = self.opened.add_read(f"read{len(self.opened.reads)}", Table(column), None)
        return self.known[column]

    def _result(self, result: Result) -> fx.Node | None:
        """The node of a result; of an earlier step, what the last one is given of it."""
        if not result.back:
            return self._made(result.position, result.output)
        initial = self._initial(result, range(result.back, 0, -1))
        like = Value(self.stop.window.start + result.position, result.output)
        return None if initial is None else self._carried((result.position, result.output), initial, like)

    def _stands_in(self, result: Result, node: fx.Node) -> bool:
        """Whether there is a value for a result where no step runs; it is read from then on."""
        initial = self._initial(result, range(result.back + 1, result.back, -1))
        if initial is None:
            return False
        like = Value(self.stop.window.start + result.position, result.output)
        if not result.back:
            if not any(place == (result.position, result.output) for place in self.feeds.values()):
                self._carried((result.position, result.output), initial, like)
            return True
        spec = self.calls.node_of(like).meta.get("spec")
        names = tuple(map(self._name, initial))
        placeholder = self.opened.add_read(f"read{len(self.opened.reads)}", Lag(0, names), spec)
        self.opened.feeds[placeholder] = node
        return True

    def _initial(self, result: Result, back: range) -> tuple[Value, ...] | None:
        found = [self.past.get((result.position, result.output, k)) for k in back]
        return None if None in found else tuple(found)  # pyright: ignore[reportReturnType]
