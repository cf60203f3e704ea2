"""A graph as integers: one label per call, and for every argument slot the call that it reads."""

import operator
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.structure.periods import IntArray
from fxsolve.structure.slots import PeriodicWindow, Value
from fxsolve.torch_compat.operators import OpOverload, once_each, schema_of

_TENSOR = "tensor"
_INT = "int"
_FLOAT = "float"
_NUMBER = "number"


@dataclass(frozen=True)
class Calls:
    """The call nodes of a graph in order, without `getitem`s, which are read as outputs of the call they project.

    Slot s of call i reads output `outputs[slots[i] + s]` of call `sources[slots[i] + s]`; a negative source
    -1 - j is leaf number j (a placeholder or attribute). `numbers` holds the Python ints and floats of call i from
    `number_slots[i]` on: they are no part of its label, so calls that differ only in a number have equal labels.
    """

    nodes: tuple[fx.Node, ...]
    leaves: tuple[fx.Node, ...]
    labels: IntArray
    slots: IntArray
    sources: IntArray
    outputs: IntArray
    number_slots: IntArray
    numbers: tuple[int | float, ...]
    values: dict[fx.Node, Value]

    def of_copies(self, copies: Mapping[fx.Node, fx.Node]) -> "Calls":
        """The same calls in a copy of the graph."""
        nodes, leaves = tuple(map(copies.__getitem__, self.nodes)), tuple(map(copies.__getitem__, self.leaves))
        values = {copies[node]: value for node, value in self.values.items()}
        return replace(self, nodes=nodes, leaves=leaves, values=values)

    def arguments(self, call: int) -> list[Value]:
        """The value that each argument slot of a call reads."""
        span = slice(self.slots[call], self.slots[call + 1])
        return list(map(Value, self.sources[span].tolist(), self.outputs[span].tolist()))

    def numbers_of(self, call: int) -> tuple[int | float, ...]:
        """The Python numbers among the arguments of a call."""
        return self.numbers[self.number_slots[call] : self.number_slots[call + 1]]

    def reads(self, window: PeriodicWindow) -> tuple[IntArray, IntArray]:
        """Which output of which call slot k reads at step t of a window: the calls (T, k), and the outputs."""
        low, high = self.slots[window.start], self.slots[window.stop]
        shape = (window.trips, int(high - low) // window.trips)
        return self.sources[low:high].reshape(shape), self.outputs[low:high].reshape(shape)

    def node_of(self, value: Value) -> fx.Node:
        """The node that stands for `value`: a leaf, a call, or the `getitem` that projects one output of a call."""
        if value.call < 0:
            return self.leaves[-1 - value.call]
        node = self.nodes[value.call]
        if value.output < 0:
            return node
        return next(u for u in node.users if u.target is operator.getitem and u.args[1] == value.output)


def _is_projection(node: fx.Node) -> bool:
    """Whether `node` picks one output of a call that has several."""
    return node.op == "call_function" and node.target is operator.getitem


def shape_and_dtype(spec: TensorSpec) -> Hashable:
    """What tensors of two steps of a loop have in common."""
    return spec[::2]


def is_renamed(node: fx.Node) -> bool:
    """Whether `node` is a tensor under another identity only, made by autograd for its backward pass.

    It detaches the results that it saves, and once more what it hands to the backward pass.
    """
    if node.target is not torch.ops.aten.detach.default or any(user.op == "output" for user in node.users):
        return False
    return "backward" in node.meta or (bool(node.users) and all("backward" in user.meta for user in node.users))


def read_calls(
    graph: fx.Graph,
    ignored: Collection[fx.Node] = (),
    describe: Callable[[TensorSpec], Hashable] = shape_and_dtype,
) -> Calls:
    """Flatten `graph` to integers, without the `ignored` calls; about 6 us a call.

    `describe` gives what the label of a call says of the tensors that it reads and gives.
    """
    reading = _CallReader(describe)
    for node in graph.nodes:
        if node not in ignored:
            reading.node(node)
    return reading.calls()


@dataclass
class _CallReader:
    """The calls met so far, as in `Calls`; `label_of` numbers what is equal in calls with one label."""

    describe: Callable[[TensorSpec], Hashable]
    nodes: list[fx.Node] = field(default_factory=list)
    leaves: list[fx.Node] = field(default_factory=list)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    label_of: dict[Hashable, int] = field(default_factory=dict)
    forms: dict[Hashable, int] = field(default_factory=dict)  # numbers what is equal in specs with one description
    form_of: dict[int, int] = field(default_factory=dict)  # by the id of a spec: equal ones of a record are one object
    labels: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=lambda: [0])
    sources: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    number_slots: list[int] = field(default_factory=lambda: [0])
    numbers: list[int | float] = field(default_factory=list)

    def node(self, node: fx.Node) -> None:
        if node.op in ("placeholder", "get_attr"):
            self.leaves.append(node)
            self.values[node] = Value(-len(self.leaves), -1)
        elif _is_projection(node):
            self.values[node] = Value(self.values[node.args[0]].call, node.args[1])  # pyright: ignore
        elif is_renamed(node):
            self.values[node] = self.values[node.args[0]]  # pyright: ignore[reportArgumentType]
        elif node.op == "call_function":
            self._call(node)

    def _call(self, node: fx.Node) -> None:
        read: list[fx.Node] = []
        given, options, target, meta = node.args, node.kwargs, node.target, node.meta
        key: list[Any] = [_template(argument, read, self.numbers) for argument in given]
        if options:
            key.append(_template(options, read, self.numbers))
        for source in read:
            key.append(self._form(source.meta["spec"]))
            call, output = self.values[source]
            self.sources.append(call)
            self.outputs.append(output)
        # Dimensions are no numbers that may change with the step: a body that is batched has them once for all steps.
        for place in _dims_of(target) if isinstance(target, OpOverload) else ():
            key += given[place : place + 1]
        # An operator is the same object wherever it is called. A loop lies in the forward or in the backward pass.
        key += id(target), len(given), len(read), self._form(meta["spec"]), "backward" in meta
        self.labels.append(self.label_of.setdefault(tuple(key), len(self.label_of)))
        self.values[node] = Value(len(self.nodes), -1)
        self.nodes.append(node)
        self.slots.append(len(self.sources))
        self.number_slots.append(len(self.numbers))

    def _form(self, spec: Any) -> int:
        """A number for what the labels of calls say of a value, or of all results of a call."""
        form = self.form_of.get(id(spec))
        if form is None:
            described = _described(spec, self.describe)
            form = self.form_of[id(spec)] = self.forms.setdefault(described, len(self.forms))
        return form

    def calls(self) -> Calls:
        return Calls(
            nodes=tuple(self.nodes),
            leaves=tuple(self.leaves),
            labels=np.array(self.labels, np.int64),
            slots=np.array(self.slots, np.int64),
            sources=np.array(self.sources, np.int64),
            outputs=np.array(self.outputs, np.int64),
            number_slots=np.array(self.number_slots, np.int64),
            numbers=tuple(self.numbers),
            values=self.values,
        )


@once_each
def _dims_of(target: OpOverload) -> tuple[int, ...]:
    """The places of the arguments that name dimensions."""
    return tuple(k for k, one in enumerate(schema_of(target).arguments) if one.name.startswith("dim"))


def _described(spec: Any, describe: Callable[[TensorSpec], Hashable]) -> Hashable:
    """What stands for a spec, or for several, in a label; the numbers of a loop around it have none."""
    if spec is None:
        return _NUMBER
    return describe(spec) if isinstance(spec, TensorSpec) else tuple([_described(one, describe) for one in spec])


def _template(argument: Any, read: list[fx.Node], numbers: list[int | float]) -> Hashable:
    """The structure of an argument with tensors and numbers taken out, in one fixed order."""
    kind = type(argument)
    if kind is fx.Node:
        read.append(argument)
        return _TENSOR
    if kind is int:
        numbers.append(argument)
        return _INT
    if kind is float:
        numbers.append(argument)
        return _FLOAT
    if isinstance(argument, (tuple, list)):
        return tuple([_template(item, read, numbers) for item in argument])
    if isinstance(argument, dict):
        return tuple([(key, _template(argument[key], read, numbers)) for key in sorted(argument)])
    if isinstance(argument, slice):
        return ("slice", _template((argument.start, argument.stop, argument.step), read, numbers))
    if isinstance(argument, (int, float)) and kind is not bool:
        numbers.append(argument)
        return _INT if isinstance(argument, int) else _FLOAT
    return argument


def map_arguments(argument: Any, tensors: Iterator[Any], numbers: Iterator[Any]) -> Any:
    """Rebuild an argument, replacing its tensors and numbers, in the order in which `read_calls` met them."""
    if isinstance(argument, fx.Node):
        return next(tensors)
    if isinstance(argument, (int, float)) and not isinstance(argument, bool):
        return next(numbers)
    if isinstance(argument, (tuple, list)):
        return type(argument)([map_arguments(item, tensors, numbers) for item in argument])
    if isinstance(argument, dict):
        return {key: map_arguments(argument[key], tensors, numbers) for key in sorted(argument)}
    if isinstance(argument, slice):
        start, stop, step = (
            map_arguments(part, tensors, numbers) for part in (argument.start, argument.stop, argument.step)
        )
        return slice(start, stop, step)
    return argument
