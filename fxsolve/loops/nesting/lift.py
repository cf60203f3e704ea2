"""Blocks with loops among their calls become repeats of the system, with blocks between them."""

import operator
from collections import Counter
from dataclasses import replace
from typing import Any

from torch import fx

from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.nested import Nested, every_repeat
from fxsolve.ir.spec import Block, Equation, Repeat, System
from fxsolve.ir.tensor_spec import TensorSpec


def lift_loops(system: System) -> System:
    """The system with every loop that one of its blocks calls as an equation of its own."""
    equations: list[Equation] = []
    names = Counter(one.name for one in every_repeat(system))
    for equation in system.equations:
        nests = isinstance(equation, Block) and any(_is_loop(node) for node in equation.body.graph.nodes)
        made = _Lifting(equation).equations() if nests else [equation]  # pyright: ignore[reportArgumentType]
        equations += [_named_once(one, names) for one in made] if nests else made
    return replace(system, equations=tuple(equations))


def _named_once(equation: Equation, names: Counter[str]) -> Equation:
    """The equation; a loop that stands at several places has a name at each of them."""
    names[equation.name] += 1
    again = names[equation.name] - 1
    return (
        replace(equation, name=f"{equation.name}_{again + 1}") if again and isinstance(equation, Repeat) else equation
    )


class _Lifting:
    """Takes one block apart. Every value that it computes is written by one of the parts, until pruned."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._results: Any = block.body.graph.output_node().args[0]
        self._names: dict[fx.Node, str] = dict(zip(self._results, block.outputs, strict=True))
        self._names.update(zip(block.body.graph.find_nodes(op="placeholder"), block.inputs, strict=True))
        self._made: list[Equation] = []
        self._builder = self._part()

    def equations(self) -> list[Equation]:
        for node in self._block.body.graph.nodes:
            if _is_loop(node):
                self._close()
                self._made.append(self._repeat(node))
            elif node.op == "call_function" and node.target is not operator.getitem:
                self._copy(node)
        for name, node in zip(self._block.outputs, self._results, strict=True):
            if self._names[node] != name:  # what the block takes, or returns twice
                self._builder.outputs[name] = self._value(node)
        self._close()
        return self._made

    def _part(self) -> BlockBuilder:
        number = len(self._made)
        return BlockBuilder(f"{self._block.name}_{number}" if number else self._block.name)

    def _close(self) -> None:
        self._made += self._builder.build()
        self._builder = self._part()

    def _copy(self, node: fx.Node) -> None:
        """A call, and with it the calls that pick its outputs."""
        made = self._builder.graph.node_copy(node, self._value)
        if not _has_several_outputs(node):
            self._builder.outputs[self._name(node)] = made
            return
        for user in node.users:
            self._builder.outputs[self._name(user)] = self._builder.stand_in(user, operator.getitem, made, user.args[1])

    def _value(self, node: fx.Node) -> fx.Node:
        return self._builder.read(self._name(node), node.meta.get("spec"))

    def _name(self, node: fx.Node) -> str:
        return self._names.setdefault(node, f"{self._block.name}_{node.name}")

    def _repeat(self, node: fx.Node) -> Repeat:
        nested: Any = node.target
        given = {name: self._name(argument) for name, argument in zip(nested.inputs, node.args, strict=True)}  # pyright: ignore
        written = {user.args[1]: self._name(user) for user in node.users}
        writes = [replace(write, name=written[k]) for k, write in enumerate(nested.repeat.writes) if k in written]
        reads = tuple(read.renamed(given.__getitem__) for read in nested.repeat.reads)
        until = nested.repeat.until
        until = until.renamed(given.__getitem__) if until is not None else None
        return replace(nested.repeat, reads=reads, writes=tuple(writes), until=until)


def _has_several_outputs(node: fx.Node) -> bool:
    spec = node.meta.get("spec")
    return isinstance(spec, tuple) and not isinstance(spec, TensorSpec)


def _is_loop(node: fx.Node) -> bool:
    return isinstance(node.target, Nested)
