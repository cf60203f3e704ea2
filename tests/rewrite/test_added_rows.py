"""Rows that are written into zeros are gradients of selections only where they are added."""

import torch
from torch import Tensor

from fxsolve.capture.capture import capture
from fxsolve.rewrite.recorded.added_rows import add_rows

aten = torch.ops.aten


def states(x: Tensor) -> Tensor:
    y = torch.zeros(4, 2)
    for t, row in enumerate(x):
        y[t] = torch.tanh(row)
    return y


@torch.no_grad()
def test_a_graph_whose_rows_are_written_alone_is_not_copied() -> None:
    graph = capture(states, (torch.randn(4, 2),), {}).module.graph
    assert graph.find_nodes(op="call_function", target=aten.select_scatter.default)
    assert add_rows(graph) is graph
