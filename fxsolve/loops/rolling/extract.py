"""Write a recorded graph and its loops as a system of equations."""

import operator
from collections.abc import Hashable, Sequence
from itertools import groupby

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat, close_repeat
from fxsolve.ir.builder import BlockBuilder, copy_call, stand_in
from fxsolve.ir.calls import arguments
from fxsolve.ir.spec import Block, Equation, Invariant, Lag, Read, Slices, Stacked, System, Table
from fxsolve.ir.strides import is_contiguous, overlaps
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.rolling.joins import join_steps, stack_values
from fxsolve.loops.rolling.live_out import LiveOut, LoopPlace
from fxsolve.loops.rolling.roll import Rolled
from fxsolve.loops.rolling.signature import Calls, map_arguments
from fxsolve.structure.slots import Internal, Irregular, SameValue, Slot, Value, Varying
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def extract(graph: fx.Graph, calls: Calls, loops: tuple[Rolled, ...], prefix: str = "") -> System:
    """The system of `graph`: a repeat for each loop, a block for each stretch of calls between them.

    Names of repeats begin with `prefix`.
    """
    wanted = LiveOut(graph, calls, loops)
    equations: list[Equation] = []
    low = 0
    for number, loop in enumerate(loops):
        equations += _blocks(wanted, f"block{number}", range(low, loop.window.start))
        body = _LoopBody(wanted, number, loop, f"{prefix}loop{number}")
        opened = body.build()
        equations += [*body.joins.build(), close_repeat(opened)]
        equations += _picks(wanted, number)
        low = loop.window.stop
    equations += _blocks(wanted, f"block{len(loops)}", range(low, len(calls.nodes)))
    outputs = tuple(node.name for node in graph.output_node().args[0])  # pyright: ignore
    return System(tuple(leaf.name for leaf in calls.leaves), tuple(equations), outputs)


def _blocks(wanted: LiveOut, name: str, span: range) -> list[Block]:
    """The calls of `span` as equations, none of which holds calls of both passes."""
    nodes = wanted.calls.nodes
    blocks: list[Block] = []
    for number, (is_backward, calls) in enumerate(groupby(span, lambda call: "backward" in nodes[call].meta)):
        suffix = ("_backward" if is_backward else "") + (f"_{number}" if number > 1 else "")
        blocks += _block(wanted, f"{name}{suffix}", tuple(calls))
    return blocks


def _block(wanted: LiveOut, name: str, span: Sequence[int]) -> list[Block]:
    """The calls of `span` as one equation; every value that it computes is an output until pruned."""
    calls = wanted.calls
    builder = BlockBuilder(name)
    for call in span:
        node = calls.nodes[call]
        if node.target is aten.unbind.int:
            _select(wanted, builder, call)
            continue
        made = join_steps(wanted, builder, call)
        if made is None:
            tensors = (builder.read(wanted.name(v), calls.node_of(v).meta.get("spec")) for v in calls.arguments(call))
            args, kwargs = map_arguments((node.args, node.kwargs), tensors, iter(calls.numbers_of(call)))
            made = copy_call(builder.graph, node, args, kwargs)
        builder.outputs[node.name] = made
        for user in [user for user in node.users if user.target is operator.getitem]:
            builder.outputs[user.name] = builder.stand_in(user, operator.getitem, made, user.args[1])
    return builder.build()


def _select(wanted: LiveOut, builder: BlockBuilder, call: int) -> None:
    """The parts of an unbound tensor that are read, one by one: how many there are may depend on the length."""
    node = wanted.calls.nodes[call]
    (value,) = wanted.calls.arguments(call)
    source = builder.read(wanted.name(value), wanted.calls.node_of(value).meta.get("spec"))
    dim = arguments(node, None, 0)[1]
    for user in [user for user in node.users if user.target is operator.getitem]:
        builder.outputs[user.name] = builder.stand_in(user, aten.select.int, source, dim, user.args[1])


def _picks(wanted: LiveOut, number: int) -> list[Block]:
    """A block that takes single steps out of the stacked outputs of a loop."""
    builder = BlockBuilder(f"picks{number}")
    for place in wanted.places(number):
        for step in wanted.picked(place):
            value = wanted.value_at(place, step)
            builder.outputs[wanted.name(value)] = _pick(wanted, builder, place, step)
    return builder.build()


def _pick(wanted: LiveOut, builder: BlockBuilder, place: LoopPlace, step: int) -> fx.Node:
    """A step with the strides that it had when it was computed: they decide in which order later sums add up."""
    node = wanted.calls.node_of(wanted.value_at(place, step))
    spec: TensorSpec = node.meta["spec"]
    stack = wanted.read_stack(builder, place)
    if is_contiguous(spec) or overlaps(spec):
        return builder.stand_in(node, aten.select.int, stack, 0, step)
    entry = builder.call(aten.select.int, stack, 0, step)
    empty = builder.call(aten.new_empty_strided.default, entry, spec.shape, spec.stride)
    return builder.stand_in(node, aten.copy.default, empty, entry)


class _LoopBody:
    """Builds the body of one loop from its first iteration and the rules of its slots."""

    def __init__(self, wanted: LiveOut, number: int, loop: Rolled, name: str) -> None:
        self.wanted = wanted
        self.calls = wanted.calls
        self.number = number
        self.loop = loop
        source = self.calls.nodes[loop.window.start].meta.get("source", "")
        self.joins = BlockBuilder(f"joins{number}")
        self.opened = OpenRepeat(name, loop.window.trips, source, Graph())
        self.made: dict[tuple[int, int], fx.Node] = {}
        self.known: dict[Hashable, fx.Node] = {}
        self.carried: dict[fx.Node, tuple[int, int]] = {}

    def build(self) -> OpenRepeat:
        slots = iter(self.loop.slots)
        columns = zip(*self.loop.numbers, strict=True)
        for position in range(self.loop.window.period):
            self._call(position, slots, columns)
        for placeholder, (position, output) in self.carried.items():
            self.opened.feeds[placeholder] = self._made(position, output)
        for place in self.wanted.places(self.number):
            self._write(place)
        return self.opened

    def _call(self, position: int, slots, columns) -> None:
        call = self.loop.window.start + position
        node = self.calls.nodes[call]
        # Lists, not generators: placeholders must exist before the call that reads them.
        tensors = [self._argument(next(slots), value) for value in self.calls.arguments(call)]
        numbers = [self._number(next(columns)) for _ in self.calls.numbers_of(call)]
        args, kwargs = map_arguments((node.args, node.kwargs), iter(tensors), iter(numbers))
        self.made[position, -1] = copy_call(self.opened.graph, node, args, kwargs)

    def _write(self, place: LoopPlace) -> None:
        node = self._made(place.position, place.output)
        if self.wanted.is_stacked(place):
            self.opened.steps[self.wanted.stack_name(place)] = node
            return
        last = self.wanted.value_at(place, self.loop.window.trips - 1)
        self.opened.lasts[self.wanted.name(last)] = node

    def _made(self, position: int, output: int) -> fx.Node:
        """The body's node for one output of its call `position`; a `getitem` is made when first asked for."""
        if (position, output) not in self.made:
            producer = self.made[position, -1]
            original = self.calls.node_of(Value(self.loop.window.start + position, output))
            with self.opened.graph.inserting_after(producer):
                node = stand_in(self.opened.graph, original, operator.getitem, (producer, output))
            self.made[position, output] = node
        return self.made[position, output]

    def _argument(self, slot: Slot, first: Value) -> fx.Node:
        match slot:
            case Internal(position, output, 0, _):
                return self._made(position, output)
            case Internal(position, output, _, initial):
                names = tuple(self.wanted.name(value) for value in initial)
                node = self._placeholder(first, (position, output, names), Lag(0, names))
                self.carried[node] = (position, output)
                return node
            case SameValue(value):
                return self._placeholder(first, value, Invariant(self.wanted.name(value)))
            case Varying(values):
                return self._placeholder(first, values, self._varying(values))
            case Irregular():
                raise AssertionError("a loop with an irregular slot is not rolled")

    def _varying(self, values: tuple[Value, ...]) -> Read:
        if steps := self.wanted.steps_of_one(values):
            return self._from_steps(*steps)
        if self.wanted.is_joined(values):
            name = f"{self.opened.name}_{self.wanted.name(values[0])}_joined"
            self.joins.outputs[name] = stack_values(self.wanted, self.joins, list(values))
            return Slices(name, 0, tuple(range(len(values))))
        producer = self.wanted.unbound(values)
        if producer is not None:
            node = self.calls.nodes[producer]
            (source,) = self.calls.arguments(producer)
            dim = arguments(node, None, 0)[1] % len(self.calls.node_of(source).meta["spec"].shape)
            return Slices(self.wanted.name(source), dim, tuple(value.output for value in values))
        return Stacked(tuple(self.wanted.name(value) for value in values))

    def _from_steps(self, place: LoopPlace, steps: tuple[int, ...]) -> Read:
        if self.wanted.is_stacked(place):
            return Slices(self.wanted.stack_name(place), 0, steps)
        return Stacked(tuple(self.wanted.name(self.wanted.value_at(place, step)) for step in steps))

    def _number(self, column: tuple[int | float, ...]) -> fx.Node | int | float:
        if len(set(map(repr, column))) == 1:  # repr tells -0.0 from 0.0 and equates NaNs
            return column[0]
        if column not in self.known:
            self.known[column] = self.opened.add_read(f"table{len(self.known)}", Table(column), None)
        return self.known[column]

    def _placeholder(self, first: Value, key: Hashable, read: Read) -> fx.Node:
        if key not in self.known:
            node = self.calls.node_of(first)
            self.known[key] = self.opened.add_read(node.name, read, node.meta.get("spec"))
        return self.known[key]
