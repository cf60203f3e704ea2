"""The code of an emitted module."""

from torch import fx, nn

from fxsolve.codegen.code import code_of


def test_every_graph_inside_stands_behind_it_under_its_name() -> None:
    inner = fx.symbolic_trace(lambda x: x * 2)
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("steps.body", (x,)))
    outer = fx.GraphModule({"steps.body": inner, "layer": nn.Linear(2, 2)}, graph)
    first, second = code_of(outer).split("\n\n# self.steps.body\n")
    assert "self.steps" in first
    assert second.strip() == inner.code.strip()
