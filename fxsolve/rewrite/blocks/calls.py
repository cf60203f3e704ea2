"""The calls of a block as the integers that `fxsolve.structure.grouping` works on."""

import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx

from fxsolve.ir.meta import empty_like_spec
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.structure.grouping import CallGraph, Path
from fxsolve.torch_compat.operators import OpOverload, flop_rule


class BlockCalls:
    """The calls of a block in order; a `getitem` counts as part of the call that it projects.

    `owners` has the path of the module that owns a named value; of other values nothing is known.
    """

    def __init__(self, block: Block, owners: Mapping[str, Path]) -> None:
        self.number: dict[fx.Node, int] = {}
        self.nodes: list[fx.Node] = []
        placeholders = block.body.graph.find_nodes(op="placeholder")
        named = zip(placeholders, block.inputs, strict=True)
        self.weights = {node: owners[name] for node, name in named if name in owners}
        for node in block.body.graph.nodes:
            if node.op == "call_function":
                self._add(node)
        self.graph = CallGraph(
            reads=tuple(tuple(self._reads(node)) for node in self.nodes),
            costs=tuple(cost_of(node) for node in self.nodes),
            gathers=tuple(self._gathers(node) for node in self.nodes),
            paths=tuple(map(self._path, self.nodes)),
            modules=frozenset(owners.values()),
        )

    def _add(self, node: fx.Node) -> None:
        # What is made of weights alone, as their transpose, is a weight.
        if node.all_input_nodes and all(source in self.weights for source in node.all_input_nodes):
            self.weights[node] = self._path(node)
        if node.target is operator.getitem:
            self.number[node] = self.number[node.args[0]]  # pyright: ignore[reportArgumentType]
            return
        self.number[node] = len(self.nodes)
        self.nodes.append(node)

    def _path(self, node: fx.Node) -> Path:
        """The module of the first weight that a call reads."""
        return next((self.weights[source] for source in node.all_input_nodes if self.weights.get(source)), ())

    def _reads(self, node: fx.Node) -> list[int]:
        return sorted({self.number[source] for source in node.all_input_nodes if source in self.number})

    def _gathers(self, node: fx.Node) -> bool:
        sources = [source for source in node.all_input_nodes if source not in self.weights]
        return len(sources) > 1 and _bytes(node) >= sum(map(_bytes, sources))


def cost_of(node: fx.Node) -> int:
    """The multiplications and additions of a product, convolution or attention; 0 for any other call."""
    rule = flop_rule(node.target) if isinstance(node.target, OpOverload) else None
    if rule is None:
        return 0
    if not all("spec" in source.meta for source in (node, *node.all_input_nodes)):
        return 0
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: empty_like_spec(source.meta["spec"]))
    return rule(*args, **kwargs, out_val=empty_like_spec(node.meta["spec"]))


def cost_of_body(body: fx.GraphModule) -> int:
    """What all calls of a body cost, those of loops inside of it left out."""
    return sum(cost_of(node) for node in body.graph.nodes if node.op == "call_function")


def _bytes(node: fx.Node) -> int:
    return sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in _specs(node.meta.get("spec")))


def _specs(spec: Any) -> Iterator[TensorSpec]:
    if isinstance(spec, TensorSpec):
        yield spec
    elif isinstance(spec, tuple):
        for one in spec:
            yield from _specs(one)
