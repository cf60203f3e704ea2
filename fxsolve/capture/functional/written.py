"""Which values of a raw record lie in memory that a call of it writes into: all others are what they are made as."""

import operator
from collections.abc import Iterator

from torch import fx

from fxsolve.capture.raw_calls import is_view
from fxsolve.capture.record.mutated import written_arguments
from fxsolve.torch_compat.operators import OpOverload, schema_of


def written_memory(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that are written into, those that they are views of, and all other views of these.

    The parts of a call that gives several tensors count as one memory, and so do all arguments of a view.
    """
    memories = _Memories()
    written: list[fx.Node] = []
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if isinstance(node.target, OpOverload) and schema_of(node.target).is_mutable:
            targets = list(_nodes(written_arguments(node.target, node.args, node.kwargs)))
            written += targets
            memories.join(node, targets)
        elif node.target is operator.getitem or is_view(node.target):
            memories.join(node, node.all_input_nodes)
    roots = set(map(memories.root, written))
    return {node for node in graph.nodes if memories.root(node) in roots}


class _Memories:
    """Sets of nodes on one memory; `_above` leads from each node to the one that stands for its set."""

    def __init__(self) -> None:
        self._above: dict[fx.Node, fx.Node] = {}

    def root(self, node: fx.Node) -> fx.Node:
        while (above := self._above.get(node)) is not None:
            # The way becomes half as long each time that it is gone.
            self._above[node] = node = self._above.get(above, above)
        return node

    def join(self, node: fx.Node, others: list[fx.Node]) -> None:
        """A node, which is new, lies on the memory of the others."""
        for other in others:
            one, two = self.root(node), self.root(other)
            if one is not two:
                self._above[one] = two


def _nodes(values: list[object]) -> Iterator[fx.Node]:
    return (value for value in values if isinstance(value, fx.Node))
