"""A backward pass for some of the cotangents: what only the others lead to is left out, as autograd leaves it out.

Zeros in place of a missing cotangent would do where all derivatives are finite; 0 * inf is NaN.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat, close_repeat, open_repeat
from fxsolve.ir.builder import BlockBuilder, add_call
from fxsolve.ir.spec import Block, Equation, Prefix, Read, Repeat, System, outputs_of
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.rewrite.prune import prune

aten = torch.ops.aten


@dataclass(frozen=True)
class Restricted:
    """A system without the missing values; those of its outputs that nothing is left of are `missing` too."""

    system: System
    missing: frozenset[str]


def restrict(system: System, cotangents: Iterable[str], missing: Iterable[str]) -> Restricted:
    """The system that is left where some of the `cotangents` are `missing`.

    A value is missing where everything is that it was computed from and that depends on a cotangent. Where only a part
    is, a sum is the sum of the others, and any other call takes zeros.
    """
    state = _State(set(cotangents), set(missing))
    equations: list[Equation] = []
    for equation in system.equations:
        made = state.block(equation) if isinstance(equation, Block) else state.repeat(equation)
        equations += made
        known = {name for one in made for name in outputs_of(one)}
        state.missing.update(name for name in outputs_of(equation) if name not in known)
    gone = frozenset(state.missing)
    inputs = tuple(name for name in system.inputs if name not in gone)
    outputs = tuple(name for name in system.outputs if name not in gone)
    return Restricted(prune(System(inputs, tuple(equations), outputs)), gone)


@dataclass
class _State:
    """The names of values that depend on a cotangent, and of those that are missing."""

    dependent: set[str]
    missing: set[str] = field(default_factory=set)

    def block(self, block: Block) -> list[Equation]:
        if self.dependent.isdisjoint(block.inputs):
            return [block]
        self.dependent.update(block.outputs)
        if self.missing.isdisjoint(block.inputs):
            return [block]
        builder = BlockBuilder(block.name)
        names = dict(zip(block.body.graph.find_nodes(op="placeholder"), block.inputs, strict=True))
        copied = {n: builder.read(name, n.meta.get("spec")) for n, name in names.items() if name not in self.missing}
        body = _RestrictedBody(
            builder.graph, copied, {node for node, name in names.items() if name in self.dependent},
            {node for node, name in names.items() if name in self.missing},
        )  # fmt: skip
        body.run(block.body.graph)
        results: tuple[fx.Node, ...] = block.body.graph.output_node().args[0]  # pyright: ignore[reportAssignmentType]
        pairs = zip(block.outputs, results, strict=True)
        builder.outputs.update({name: copied[node] for name, node in pairs if node not in body.missing})
        return [*builder.build()]

    def repeat(self, repeat: Repeat) -> list[Equation]:
        sources = {name for read in repeat.reads for name in read.names}
        if self.dependent.isdisjoint(sources):
            return [repeat]
        self.dependent.update(outputs_of(repeat))
        if self.missing.isdisjoint(sources):
            return [repeat]
        opened = open_repeat(repeat)
        zeros = BlockBuilder(f"{repeat.name}_zeros")
        missing = self._missing_reads(opened)
        self._fill(opened, missing, zeros)
        dependent = {node for node, read in opened.reads.items() if self._depends(opened, node, read)}
        body = _RestrictedBody(opened.graph, {}, dependent, missing)
        body.run_in_place(opened)
        for results in (opened.steps, opened.lasts):
            for name in [name for name, node in results.items() if node in body.missing]:
                del results[name]
        for node in missing:
            opened.feeds.pop(node, None)
        for node, fed in opened.feeds.items():
            opened.feeds[node] = body.filled(fed)
        made = [close_repeat(opened)] if opened.is_wanted() else []
        return [*zeros.build(), *made]

    def _missing_reads(self, opened: OpenRepeat) -> set[fx.Node]:
        """The placeholders that are missing in every step."""
        missing = {
            node
            for node, read in opened.reads.items()
            if read.names and not isinstance(read, Prefix) and self.missing.issuperset(read.names)
        }
        while True:
            dependent = {node for node, read in opened.reads.items() if self._depends(opened, node, read)}
            gone = _RestrictedBody(opened.graph, {}, dependent, set(missing)).find()
            filled = {node for node in missing if node in opened.feeds and opened.feeds[node] not in gone}
            if not filled:
                return missing
            missing -= filled

    def _depends(self, opened: OpenRepeat, node: fx.Node, read: Read) -> bool:
        return node in opened.feeds or not self.dependent.isdisjoint(read.names)

    def _fill(self, opened: OpenRepeat, missing: set[fx.Node], zeros: BlockBuilder) -> None:
        """Zeros for missing values that are read where others are not, or that a step adds to."""
        for node, read in opened.reads.items():
            absent = [] if node in missing else [name for name in read.names if name in self.missing]
            if not absent:
                continue
            name = f"{zeros.name}_{node.name}"
            zeros.outputs[name] = _zeros(zeros.graph, node.meta["spec"])
            opened.reads[node] = read.renamed(lambda n, new=name, gone=absent: new if n in gone else n)


@dataclass
class _RestrictedBody:
    """The calls of one graph: which of them are missing, and the others as copies in another graph."""

    graph: fx.Graph
    copied: dict[fx.Node, fx.Node]
    dependent: set[fx.Node]
    missing: set[fx.Node]

    def find(self, source: fx.Graph | None = None) -> set[fx.Node]:
        """All nodes that are missing."""
        for node in (source or self.graph).nodes:
            if node.op != "call_function" or self.dependent.isdisjoint(node.all_input_nodes):
                continue
            self.dependent.add(node)
            if self.missing.issuperset(one for one in node.all_input_nodes if one in self.dependent):
                self.missing.add(node)
        return self.missing

    def run(self, source: fx.Graph) -> None:
        """Copy what is left of the calls of another graph."""
        self.find(source)
        for node in source.nodes:
            if node.op != "call_function" or node in self.missing:
                continue
            other = self._other(node)
            self.copied[node] = self.copied[other] if other else self.graph.node_copy(node, self._copy)

    def run_in_place(self, opened: OpenRepeat) -> None:
        """Replace what is missing among the arguments of the calls of an open repeat."""
        self.find()
        for node in [node for node in self.graph.nodes if node.op == "call_function" and node not in self.missing]:
            if self.missing.isdisjoint(node.all_input_nodes):
                continue
            other = self._other(node)
            if other is not None:
                opened.replace(node, other)
                continue
            for absent in [one for one in node.all_input_nodes if one in self.missing]:
                with self.graph.inserting_before(node):
                    node.replace_input_with(absent, _zeros(self.graph, absent.meta["spec"]))

    def filled(self, node: fx.Node) -> fx.Node:
        """The node, or zeros where it is missing."""
        return _zeros(self.graph, node.meta["spec"]) if node in self.missing else node

    def _copy(self, node: fx.Node) -> fx.Node:
        return _zeros(self.graph, node.meta["spec"]) if node in self.missing else self.copied[node]

    def _other(self, node: fx.Node) -> fx.Node | None:
        """What is left of a sum of two, if one of them is missing."""
        terms = node.all_input_nodes
        if node.target is not aten.add.Tensor or node.kwargs or len(terms) != 2:
            return None
        left = [term for term in terms if term not in self.missing]
        same = len(left) == 1 and left[0].meta["spec"][::2] == node.meta["spec"][::2]
        return left[0] if same else None


def _zeros(graph: fx.Graph, spec: TensorSpec) -> fx.Node:
    return add_call(graph, aten.full.default, (list(spec.shape), 0), {"dtype": spec.dtype, "device": spec.device})
