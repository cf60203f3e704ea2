"""Drop what nothing reads: outputs, writes, equations."""

from typing import Any

from fxsolve.ir.bodies import close_repeat, open_repeat
from fxsolve.ir.spec import Block, Equation, Repeat, System, inputs_of
from fxsolve.torch_compat.graphs import Graph, lazy_module


def prune(system: System) -> System:
    """The system without equations, outputs and writes that no output of the program depends on."""
    live = set(system.outputs)
    kept: list[Equation] = []
    for equation in reversed(system.equations):
        smaller = _prune_block(equation, live) if isinstance(equation, Block) else _prune_repeat(equation, live)
        if smaller is not None:
            kept.append(smaller)
            live.update(inputs_of(smaller))
    return System(system.inputs, tuple(reversed(kept)), system.outputs)


def _prune_repeat(repeat: Repeat, live: set[str]) -> Repeat | None:
    opened = open_repeat(repeat)
    for writes in (opened.steps, opened.lasts, opened.finals, opened.counts):
        for name in [name for name in writes if name not in live]:
            del writes[name]
    if not opened.is_wanted():
        return None
    return close_repeat(opened)


def _prune_block(block: Block, live: set[str]) -> Block | None:
    outputs = tuple(name for name in block.outputs if name in live)
    if not outputs:
        return None
    if outputs == block.outputs and all(node.users or node.op == "output" for node in block.body.graph.nodes):
        return block
    graph = Graph()
    results: Any = graph.graph_copy(block.body.graph, {})
    result_of = dict(zip(block.outputs, results, strict=True))
    graph.output(tuple(result_of[name] for name in outputs))
    graph.eliminate_dead_code()
    placeholders = graph.find_nodes(op="placeholder")
    inputs = tuple(name for name, node in zip(block.inputs, placeholders, strict=True) if node.users)
    for node in placeholders:
        if not node.users:
            graph.erase_node(node)
    return Block(block.name, lazy_module(graph, block.name), inputs, outputs)
