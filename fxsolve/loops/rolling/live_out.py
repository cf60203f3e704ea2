"""Which values computed inside a loop are read outside of it, and whether one by one or all steps together."""

import operator
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import fx

from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.calls import is_join, is_view
from fxsolve.ir.strides import is_contiguous, overlaps, span, stacked
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.rolling.roll import MAX_PEELED, Rolled
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.slots import Internal, SameValue, Value, Varying

_MOST_GAPS = 4  # of the memory of a stack, against that of its entries


class LoopPlace(NamedTuple):
    """Output `output` of call `position` of the body of loop number `loop`."""

    loop: int
    position: int
    output: int


@dataclass
class _Readers:
    steps: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)


class LiveOut:
    """The loop values that the rest of the program reads, and the names under which it finds them.

    A value wanted at its last step only keeps its own name. Otherwise all steps are stacked under one name, and
    steps that are read one by one are picked out of the stack under their own names.
    """

    def __init__(self, graph: fx.Graph, calls: Calls, loops: tuple[Rolled, ...]) -> None:
        self.calls = calls
        self.windows = [loop.window for loop in loops]  # in program order
        self._starts = [window.start for window in self.windows]
        self._readers: dict[LoopPlace, _Readers] = defaultdict(_Readers)
        for loop in loops:
            self._collect_loop(loop)
        for call in self.calls_outside():
            self._collect_call(call)
        for node in graph.output_node().args[0]:  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
            self._want((calls.values[node],), alone=True)  # pyright: ignore[reportArgumentType]

    def calls_outside(self) -> list[int]:
        """The calls that belong to no loop, in order."""
        inside = {call for window in self.windows for call in range(window.start, window.stop)}
        return [call for call in range(len(self.calls.nodes)) if call not in inside]

    def locate(self, value: Value) -> tuple[LoopPlace, int] | None:
        """The place of a value inside a loop and its step, or None outside of all loops."""
        number = bisect_right(self._starts, value.call) - 1
        if number < 0 or value.call >= self.windows[number].stop:
            return None
        step, position = divmod(value.call - self.windows[number].start, self.windows[number].period)
        return LoopPlace(number, position, value.output), step

    def steps_of_one(self, values: tuple[Value, ...]) -> tuple[LoopPlace, tuple[int, ...]] | None:
        """(place, steps) when all the values are steps of one place."""
        located = [self.locate(value) for value in values]
        places = {entry[0] if entry else None for entry in located}
        place = places.pop()
        if place is None or places:
            return None
        return place, tuple(entry[1] for entry in located if entry)

    def is_joined(self, values: tuple[Value, ...]) -> bool:
        """Whether the values are steps of one place, but for a few of an iteration that was peeled."""
        located = [self.locate(value) for value in values]
        places = {entry[0] for entry in located if entry}
        few = 0 < located.count(None) <= MAX_PEELED < len(values) // 2
        return few and len(places) == 1 and _may_be_row(self.calls.node_of(values[0]))

    def unbound(self, values: tuple[Value, ...]) -> int | None:
        """The number of the `unbind` outside of all loops whose results the values are, if they are."""
        (producer, *others) = {value.call for value in values}
        if others or producer < 0 or self.calls.nodes[producer].target is not torch.ops.aten.unbind.int:
            return None
        return producer if self.locate(values[0]) is None else None

    def is_stack(self, values: tuple[Value, ...]) -> bool:
        """Whether the values lie in one tensor already, one per step."""
        return self.steps_of_one(values) is not None or self.unbound(values) is not None

    def value_at(self, place: LoopPlace, step: int) -> Value:
        window = self.windows[place.loop]
        return Value(window.start + step * window.period + place.position, place.output)

    def name(self, value: Value) -> str:
        """The name of one value."""
        return self.calls.node_of(value).name

    def read_stack(self, builder: BlockBuilder, place: LoopPlace) -> fx.Node:
        """All steps of a place, stacked, as a block reads them."""
        spec = self.calls.node_of(self.value_at(place, 0)).meta["spec"]
        return builder.read(self.stack_name(place), stacked(spec, self.windows[place.loop].trips))

    def stack_name(self, place: LoopPlace) -> str:
        """The name of all steps of a place, stacked."""
        return f"{self.name(self.value_at(place, 0))}_steps"

    def places(self, loop: int) -> list[LoopPlace]:
        """The places of a loop that are read outside of it."""
        return [place for place in self._readers if place.loop == loop]

    def is_stacked(self, place: LoopPlace) -> bool:
        """Whether more than the last step is wanted."""
        return self._readers[place].steps != {self.windows[place.loop].trips - 1}

    def picked(self, place: LoopPlace) -> list[int]:
        """The steps that are read one by one out of the stack."""
        return sorted(self._readers[place].alone) if self.is_stacked(place) else []

    def _collect_loop(self, loop: Rolled) -> None:
        for slot in loop.slots:
            match slot:
                case SameValue(value):
                    self._want((value,), alone=True)
                case Internal(_, _, _, initial):
                    self._want(initial, alone=True)
                case Varying(values):
                    together = self.steps_of_one(values) is not None or self.is_joined(values)
                    self._want(values, alone=not together)

    def _collect_call(self, call: int) -> None:
        self._want(tuple(self.calls.arguments(call)), alone=not is_join(self.calls.nodes[call]))

    def _want(self, values: tuple[Value, ...], alone: bool) -> None:
        for value in values:
            if located := self.locate(value):
                place, step = located
                self._readers[place].steps.add(step)
                if alone:
                    self._readers[place].alone.add(step)


def _may_be_row(node: fx.Node) -> bool:
    """Whether values may lie in one tensor as they lay alone, without much memory between their entries.

    Not what is a turned weight in every step: it would be copied for each.
    """
    spec: TensorSpec = node.meta["spec"]
    if is_contiguous(spec):
        return True
    while is_view(node) or node.target is operator.getitem:
        node = node.all_input_nodes[0]
    is_alone = node.op == "call_function" and not overlaps(spec) and 0 not in spec.shape
    return is_alone and span(spec) <= _MOST_GAPS * torch.Size(spec.shape).numel()
