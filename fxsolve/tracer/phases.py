"""Which pass of a program a call belongs to."""

from torch import fx

from fxsolve.tracer.program import Backward


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
    for node in reversed(graph.nodes):
        if node in needed and node not in reached:
            del node.meta["backward"]
            needed.update(source for source in node.all_input_nodes if "backward" in source.meta)
