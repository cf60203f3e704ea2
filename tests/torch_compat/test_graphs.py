"""Graph modules that generate their code late, and arguments that are set without a search."""

import torch
from torch import fx

from fxsolve.torch_compat.graphs import LazyGraphModule, update_arguments

aten = torch.ops.aten


def graph() -> fx.Graph:
    made = fx.Graph()
    x = made.placeholder("x")
    made.output(made.call_function(aten.add.Tensor, (x, 1)))
    return made


def test_code_is_generated_at_the_first_call() -> None:
    module = LazyGraphModule({}, graph(), "Late")
    assert type(module).__name__ == "Late"
    module.graph.output_node().args[0].args = (module.graph.find_nodes(op="placeholder")[0], 2)
    assert module(torch.ones(1)).item() == 3.0  # as the graph is now
    assert "aten.add.Tensor(x, 2)" in module.code


def test_arguments_are_set_with_their_uses() -> None:
    made = graph()
    x, add = made.find_nodes(op="placeholder")[0], made.output_node().args[0]
    with made.inserting_after(x):
        other = made.placeholder("y")
    update_arguments(add, (other, other), {"alpha": 3})
    assert (add.args, add.kwargs) == ((other, other), {"alpha": 3})
    assert (list(x.users), list(other.users)) == ([], [add])
    assert made.output_node().args == (add,)
