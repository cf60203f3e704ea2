"""Numbers that depend on how many steps a loop took: two recordings with other numbers of steps tell them.

A counter of Python's is a number in the recorded calls behind the loop, or in the result. Where all else is equal, a
number a in one recording and b in the other, of n and m steps, is first + each * steps with each = (b - a) / (m - n).
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from fxsolve.capture.program import Counted, Output, Program, attribute_of
from fxsolve.errors import PartitionError
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Count, Repeat, Until
from fxsolve.torch_compat.graphs import Graph, LazyGraphModule

aten = torch.ops.aten
_WHOLE = frozenset({torch.int32, torch.int64})


@dataclass(frozen=True)
class Folded:
    """What is kept of a program with folded loops to compare another recording with.

    `literals` are the whole numbers that it made tensors of, by the names of their nodes.
    """

    graph: fx.Graph
    output: Output
    literals: Mapping[str, int]


def folded(program: Program) -> Folded:
    """What is kept of a program."""
    nodes = {node.name: str(node.target) for node in program.module.graph.find_nodes(op="get_attr")}
    tensors = {name: attribute_of(program, nodes[name]) for name in program.stream.literals if name in nodes}
    whole = {name: one for name, one in tensors.items() if one.numel() == 1 and one.dtype in _WHOLE}
    return Folded(program.module.graph, program.output, {name: int(one) for name, one in whole.items()})


@dataclass(frozen=True)
class _Loop:
    """A loop of the second recording, and its numbers of steps in both."""

    node: fx.Node
    one: int
    two: int

    def count(self, a: int, b: int) -> tuple[int, int] | None:
        """(first, each) of the number that is a and b in the recordings."""
        if self.one == self.two or (b - a) % (self.two - self.one):
            return None
        each = (b - a) // (self.two - self.one)
        return a - each * self.one, each


def join_counts(one: Folded, two: Program) -> Program | None:
    """The second recording with its numbers of steps in place of what follows from them; None if nothing does.

    Nothing is taken from recordings that differ in other things.
    """
    graph = Graph.copy_of(two.module.graph)
    try:
        joined = _Joining(one, graph, folded(two).literals)
        changed = joined.calls()
        constants = tuple(joined.constant(a, b) for a, b in _pairs(one.output.constants, two.output.constants))
    except PartitionError:
        return None
    if not changed and constants == two.output.constants:
        return None
    graph.lint()
    module: fx.GraphModule = LazyGraphModule(two.module, graph, two.name)
    return replace(two, module=module, output=replace(two.output, constants=constants))


class _Joining:
    """Walks two graphs side by side and edits the second one."""

    def __init__(self, one: Folded, two: fx.Graph, literals: Mapping[str, int]) -> None:
        self._graph = two
        self._literals = one.literals, literals
        self._pairs = _pairs(list(one.graph.nodes), list(two.nodes))
        self._partner = dict(self._pairs)
        loops = [_loop(a, b) for a, b in self._pairs if isinstance(b.target, Nested)]
        self._loops = [loop for loop in loops if loop is not None]

    def calls(self) -> bool:
        """Edit the calls behind the loops; whether there was anything to do."""
        changed = False
        for a, b in self._pairs:
            same = a.target is b.target or isinstance(b.target, Nested)  # loops were compared before
            if a.op != b.op or (a.op == "call_function" and not same):
                raise PartitionError("the recordings make other calls")
            changed = self._literal(a, b) or changed
            args, kwargs = self._value((a.args, a.kwargs), (b.args, b.kwargs))
            changed = changed or (args, kwargs) != (b.args, b.kwargs)
            b.args, b.kwargs = args, kwargs
        return changed

    def _literal(self, a: fx.Node, b: fx.Node) -> bool:
        """Edit what reads a tensor made of another number; whether it is one."""
        one, two = self._literals[0].get(a.name), self._literals[1].get(b.name)
        if b.op != "get_attr" or one is None or two is None or one == two:
            return False
        count, spec = self._node(*self._count(one, two)), b.meta["spec"]
        options = {"dtype": spec.dtype, "device": spec.device}
        with self._graph.inserting_after(count):
            made = self._graph.call_function(aten.full.default, (list(spec.shape), count), options)
        made.meta.update(b.meta)
        b.replace_all_uses_with(made)
        self._partner[a] = made
        return True

    def constant(self, a: Any, b: Any) -> Any:
        """A constant of the result."""
        if type(a) is not int or type(b) is not int or a == b:
            if type(a) is not type(b) or repr(a) != repr(b):
                raise PartitionError("the recordings return other constants")
            return b
        loop, first, each = self._count(a, b)
        nested: Any = loop.node.target
        return Counted(nested.repeat.name, first, each)

    def _value(self, a: Any, b: Any) -> Any:
        if isinstance(b, fx.Node):
            if not isinstance(a, fx.Node) or self._partner.get(a) is not b:
                raise PartitionError("the recordings read other values")
            return b
        if isinstance(b, (tuple, list)):
            return type(b)(self._value(*pair) for pair in _pairs(a, b))
        if isinstance(b, Mapping):
            return {key: self._value(a.get(key), value) for key, value in b.items()}
        if type(a) is int and type(b) is int and a != b:
            return self._node(*self._count(a, b))
        if type(a) is not type(b) or repr(a) != repr(b):
            raise PartitionError("the recordings have other numbers")
        return b

    def _count(self, a: int, b: int) -> tuple[_Loop, int, int]:
        """The loop that a number counts the steps of; the newest, one by one, where there are several."""
        found = [(loop, *count) for loop in reversed(self._loops) if (count := loop.count(a, b)) is not None]
        if not found:
            raise PartitionError("a number follows from no number of steps")
        return min(found, key=lambda one: abs(one[2]))

    def _node(self, loop: _Loop, first: int, each: int) -> fx.Node:
        """The number as a value of the graph."""
        nested: Any = loop.node.target
        writes = nested.repeat.writes
        known = [k for k, write in enumerate(writes) if isinstance(write, Count) and write.each == each]
        number = next((k for k in known if writes[k].first == first), len(writes))
        if number == len(writes):
            made = Nested(
                replace(
                    nested.repeat, writes=(*writes, Count(f"count{number}", nested.repeat.until.output, first, each))
                )
            )
            loop.node.target = made
            loop.node.meta["spec"] = (*loop.node.meta["spec"], None)
        with self._graph.inserting_after(loop.node):
            node = self._graph.call_function(operator.getitem, (loop.node, number))
        node.meta.update(spec=None, source=loop.node.meta.get("source", ""))
        return node


def _loop(a: fx.Node, b: fx.Node) -> _Loop | None:
    """None for a loop along another one; raises `PartitionError` where the two are not the same loop."""
    if not isinstance(a.target, Nested) or not isinstance(b.target, Nested):
        raise PartitionError("the recordings have other loops")
    one, two = a.target.repeat, b.target.repeat
    if _step(one) != _step(two):
        raise PartitionError("the recordings have other steps")
    return _Loop(b, one.length, two.length) if isinstance(two.until, Until) else None


def _step(repeat: Repeat) -> tuple[Any, ...]:
    calls = [(node.op, node.target, repr(node.args), repr(node.kwargs)) for node in repeat.body.graph.nodes]
    until = repeat.until
    how = replace(until, least=0) if isinstance(until, Until) else until and until.spare
    return calls, how, len(repeat.reads), len([one for one in repeat.writes if not isinstance(one, Count)])


def _pairs(one: Any, two: Any) -> list[tuple[Any, Any]]:
    if type(one) is not type(two) or len(one) != len(two):
        raise PartitionError("the recordings differ")
    return list(zip(one, two, strict=True))
