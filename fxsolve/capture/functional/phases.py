"""Which pass of a program a call belongs to."""

from itertools import takewhile

from torch import fx

from fxsolve.capture.program import Backward


def bring_forward(graph: fx.Graph, backward: Backward) -> None:
    """What results and guards need, and that depends on no cotangent, becomes a part of the forward pass.

    The backward pass may read numbers, which must be checked before the result of the forward pass is handed out; and
    following writes may have put off making a view.
    """
    outputs: tuple[fx.Node, ...] = graph.output_node().args[0]  # pyright: ignore[reportAssignmentType]
    late = {*backward.gradients, *(one.total for one in backward.inner)}
    needed = {node for number, node in enumerate(outputs) if number not in late and "backward" in node.meta}
    if not needed:
        return
    reached = {node for node in graph.find_nodes(op="placeholder") if str(node.target).startswith("cotangent_")}
    for node in graph.nodes:
        if node.op == "call_function" and not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
    brought: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node in needed and node not in reached:
            del node.meta["backward"]
            brought.add(node)
            needed.update(source for source in node.all_input_nodes if "backward" in source.meta)
    _move(graph, brought)


def _move(graph: fx.Graph, brought: set[fx.Node]) -> None:
    """Put these nodes in front of the backward pass, whose loops would otherwise run them in their steps."""
    calls = graph.nodes if brought else ()
    first = next((node for node in calls if node.op == "call_function" and "backward" in node.meta), None)
    if first is None:
        return
    early: set[fx.Node] = set(takewhile(lambda node: node is not first, graph.nodes))
    for node in list(graph.nodes):
        if node in brought and node not in early and early.issuperset(node.all_input_nodes):
            first.prepend(node)
            early.add(node)
