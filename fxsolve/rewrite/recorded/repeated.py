"""Writes that are made again at every step, and change nothing after the first, are made once.

A layer that multiplies its own weight by a mask whenever it is called makes the weight something that each step hands
to the next: w_1 = w_0 * m, w_2 = w_1 * m, ... Bit for bit, w_2 is w_1. Values that depend on parameters, buffers and
constants alone are numbered, equal calls of equal values as one; a value that is computed from another one and equal to
it, whatever the parameters are, gets its number.
"""

import operator
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program, attribute_of
from fxsolve.ir.ancestors import dependents_alone
from fxsolve.ops.call import bind
from fxsolve.ops.facts import FACTS, fact_of
from fxsolve.rewrite.recorded.drawn import DrawnValues, Fixed, is_open, moved_arguments
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload

_MOST_TRIES = 16  # comparisons without success, for results of one op and form


@dataclass(frozen=True)
class Settled:
    """A graph, the attributes whose values it rests on, and a note for each line that writes less often."""

    graph: fx.Graph
    rested: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def settle_writes(graph: fx.Graph, program: Program) -> Settled:
    """A copy of `graph` without calls that write what is there already; the graph itself if it has none."""
    numbering = _Numbering(program)
    fixed = dependents_alone(graph.find_nodes(op="get_attr"))
    for node in graph.nodes if fixed else ():
        if node in fixed and node.op != "output":
            numbering.add(node)
    if not numbering.repeated:
        return Settled(graph)
    lines = dict.fromkeys(node.meta["source"] for node in numbering.repeated)
    notes = tuple(f"{line}: writes after the first leave what it wrote, and were left out" for line in lines)
    return Settled(_without_repeats(graph, numbering.fixed), tuple(sorted(numbering.rested)), notes)


class _Numbering:
    """Numbers the values of a graph that depend on attributes alone, equal ones as one.

    `repeated` are the calls that gave what they were given, and `rested` the attributes whose values that rests on.
    """

    def __init__(self, program: Program) -> None:
        self.fixed: dict[fx.Node, Fixed] = {}
        self.repeated: list[fx.Node] = []
        self.rested: set[str] = set()
        self._values = DrawnValues(program)
        self._program = program
        self._literals = frozenset(program.stream.literals)
        self._all: list[Fixed] = []
        self._known: dict[Hashable, Fixed] = {}
        self._alike: Counter[Hashable] = Counter()  # the numbers of the results of one op and form, as bits
        self._tries: Counter[Hashable] = Counter()

    def add(self, node: fx.Node) -> None:
        """Number the value of a node, which depends on attributes alone."""
        inputs = [self.fixed[one] for one in node.all_input_nodes]
        self.fixed[node] = self._attribute(node) if node.op == "get_attr" else self._call(node, inputs)

    def _attribute(self, node: fx.Node) -> Fixed:
        target = str(node.target)
        if node.name in self._literals:
            value = attribute_of(self._program, target)
            key = (value.dtype, value.device, value.shape, str(value.tolist()))
            return self._known.get(key) or self._new(key, node, False, frozenset(), 0)
        is_drawn = is_open(self._program, node)
        return self._new(node, node, is_drawn, frozenset() if is_drawn else frozenset({target}), 0)

    def _call(self, node: fx.Node, inputs: list[Fixed]) -> Fixed:
        # Most calls of a loop are ones that are known: their arguments are not rebuilt.
        key = (node.target, self._keyed(node.args), self._keyed(tuple(node.kwargs.items())))
        if (known := self._known.get(key)) is not None:
            return known
        args, kwargs = self._canonical(node)
        is_drawn = any(one.is_drawn for one in inputs)
        sources = frozenset().union(*(one.sources for one in inputs))
        above = 0
        for one in inputs:
            above |= one.above | 1 << one.number
        again = None
        # Constants that steps scale alike are no state, unless each step goes on from the one before.
        if is_drawn or self._goes_on(node, args):
            again = self._applied_before(node, args, kwargs)
            if again is None and _writes(node):
                again = self._same_as_before(node, args, above, sources)
        if again is None:
            return self._new(key, node, is_drawn, sources, above)
        self.repeated.append(node)
        self._known[key] = again
        return again

    def _new(self, key: Hashable, node: fx.Node, is_drawn: bool, sources: frozenset[str], above: int) -> Fixed:
        found = Fixed(len(self._all), node, is_drawn, sources, above)
        self._all.append(found)
        self._known[key] = found
        if node.op == "call_function":
            self._alike[_form(node)] |= 1 << found.number
        return found

    def _keyed(self, value: Any) -> Hashable:
        """Equal for equal arguments: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
        if isinstance(value, fx.Node):
            return self.fixed[value].node
        if isinstance(value, (list, tuple)):
            return tuple(map(self._keyed, value))
        return type(value), value if type(value) in (int, str, type(None)) else repr(value)

    def _canonical(self, node: fx.Node) -> tuple[Any, Any]:
        return fx.map_arg((node.args, node.kwargs), lambda one: self.fixed[one].node)  # pyright: ignore

    def _goes_on(self, node: fx.Node, args: Any) -> bool:
        """Whether a call is applied to the result of the same op with the same other arguments."""
        first = args[0] if args else None
        if not isinstance(first, fx.Node) or first.target is not node.target:
            return False
        before, _ = self._canonical(first)
        return before[1:] == args[1:]

    def _applied_before(self, node: fx.Node, args: Any, kwargs: Any) -> Fixed | None:
        """What an idempotent op is applied to, if that is a result of the same call."""
        if not _is_idempotent(node) or args[0].target is not node.target:
            return None
        before, options = self._canonical(args[0])
        return self.fixed[args[0]] if (before[1:], options) == (args[1:], kwargs) else None

    def _same_as_before(self, node: fx.Node, args: Any, above: int, sources: frozenset[str]) -> Fixed | None:
        """The latest result of the same op among what a call is given, if it has the same value."""
        form = _form(node)
        alike = above & self._alike[form]
        if not alike or self._tries[form] >= _MOST_TRIES:
            return None
        before = self._all[alike.bit_length() - 1]
        self._values.find([one for one in self._all if above >> one.number & 1], self.fixed)
        value, known = self._values.result(node, self.fixed), self._values.of(before)
        if not (isinstance(value, Tensor) and isinstance(known, Tensor) and same_bits(value, known)):
            self._tries[form] += 1
            return None
        self.rested |= sources | before.sources
        return before


def _is_idempotent(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and fact_of(node.target, FACTS).idempotent


def _writes(node: fx.Node) -> bool:
    """Whether a call is a product, or a move of entries other than a view."""
    if node.target is operator.getitem or not isinstance(node.target, OpOverload):
        return node.target is operator.getitem
    call = bind(node.target, node.args, node.kwargs, node.meta["spec"])
    return call.name == "mul" or bool(moved_arguments(call) and not node.target.is_view)


def _form(node: fx.Node) -> Hashable:
    return node.target, node.meta.get("spec")


def _without_repeats(graph: fx.Graph, fixed: dict[fx.Node, Fixed]) -> fx.Graph:
    """A copy in which each of the values is computed once, before anything else of the forward pass."""
    copies: dict[fx.Node, fx.Node] = {}
    copied = Graph.copy_of(graph, copies)
    for node, found in fixed.items():
        if found.node is not node:
            copies[node].replace_all_uses_with(copies[found.node])
    calls = [copies[node] for node in fixed if node.op == "call_function"]
    for node in reversed(calls):
        if not node.users:
            copied.erase_node(node)
    moved = {node: None for node in calls if node.users and "backward" not in node.meta}
    rest = next(node for node in copied.nodes if node.op in ("call_function", "output") and node not in moved)
    for node in moved:
        rest.prepend(node)
    return copied
