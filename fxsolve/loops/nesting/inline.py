"""A system as the body of a step: blocks become their calls, repeats become single calls; and blocks back again."""

import operator
from typing import Any

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.builder import add_call
from fxsolve.ir.infer import infer_spec
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Block, Repeat, System
from fxsolve.torch_compat.graphs import Graph, lazy_module


def inline(system: System, repeat: Repeat) -> fx.GraphModule:
    """The body of `repeat`, whose placeholders are the inputs of `system`, with its equations as calls."""
    graph = Graph()
    known: dict[str, fx.Node] = {}
    for name, node in zip(system.inputs, repeat.body.graph.find_nodes(op="placeholder"), strict=True):
        known[name] = graph.node_copy(node)
    for equation in system.equations:
        made = _inlined(graph, equation, known) if isinstance(equation, Block) else _called(graph, equation, known)
        if not known.keys().isdisjoint(made):
            raise PartitionError(f"two values in the step of {repeat.name} have one name")
        known.update(made)
    _fill_specs(graph)
    graph.output(tuple(known[name] for name in system.outputs))
    return lazy_module(graph, repeat.name)


def _inlined(graph: fx.Graph, block: Block, known: dict[str, fx.Node]) -> dict[str, fx.Node]:
    placeholders = block.body.graph.find_nodes(op="placeholder")
    given = {node: known[name] for node, name in zip(placeholders, block.inputs, strict=True)}
    results: Any = graph.graph_copy(block.body.graph, given)
    return dict(zip(block.outputs, results, strict=True))


def _called(graph: fx.Graph, repeat: Repeat, known: dict[str, fx.Node]) -> dict[str, fx.Node]:
    nested = Nested(repeat)
    call = add_call(graph, nested, tuple(known[name] for name in nested.inputs))
    call.meta["source"] = repeat.source
    made: dict[str, fx.Node] = {}
    for number, write in enumerate(repeat.writes):
        made[write.name] = add_call(graph, operator.getitem, (call, number), like=call, name=write.name)
    return made


def _fill_specs(graph: fx.Graph) -> None:
    """Find the specs of what blocks compute of tensors that they knew by some entries alone."""
    for node in graph.nodes:
        if node.op == "call_function" and "spec" not in node.meta:
            node.meta["spec"] = infer_spec(node)
