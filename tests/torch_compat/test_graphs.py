"""Graph modules that generate their code late, and arguments that are set without a search."""

import math
import operator

import torch
from torch import fx

from fxsolve.torch_compat.graphs import Graph, LazyGraphModule, find_calls, update_arguments

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


def test_calls_get_the_names_and_the_places_that_every_graph_gives_them() -> None:
    def fill(made: fx.Graph) -> fx.Graph:
        last = made.create_node("placeholder", "x")
        calls = (
            ("add", aten.add.Tensor),
            ("sum", aten.sum.default),
            ("add_1", aten.add.Tensor),
            ("conv2d", aten.add.Tensor),
        )
        names = "add", "add_7", "mul", "add_03", "x_1_2", "x_1", "x", "__3", "1_2", "a-b_2", "max_2", "max", "x_9"
        for name, target in 3 * (*calls, *((name, aten.mul.Tensor) for name in names)):
            last = made.create_node("call_function", target, (last,), {}, name)
        with made.inserting_before(last):
            made.create_node("call_function", aten.add.Tensor, (), {}, "add")
        made.erase_node(last)
        for target in 2 * (aten.add.Tensor, aten.mul.Tensor, operator.getitem, math.sqrt):
            made.call_function(target, (made.find_nodes(op="placeholder")[0],))
        return made

    ours, theirs = fill(Graph()), fill(fx.Graph())
    assert [node.name for node in ours.nodes] == [node.name for node in theirs.nodes]
    assert len(ours.nodes) == len(theirs.nodes)
    for target in (aten.add.Tensor, aten.sum.default, aten.mul.Tensor):
        found, wanted = (made.find_nodes(op="call_function", target=target) for made in (ours, theirs))
        assert [node.name for node in found] == [node.name for node in wanted]
    ours.lint()


def test_a_copy_has_the_names_and_the_places_that_every_graph_gives_it() -> None:
    original = fx.Graph()
    x = original.placeholder("x")
    for name in ("self", "add_2", "mul", "mul", "x_1", "view_09", "mul_7"):
        x = original.create_node("call_function", aten.add.Tensor, (x,), {"alpha": 2}, name)
        x.meta["source"] = name
    original.output((x, [x]))
    copies: dict[fx.Node, fx.Node] = {}
    ours, theirs = Graph.copy_of(original, copies), Graph()
    theirs.output(theirs.graph_copy(original, {}))
    for made in (ours, theirs):
        for name in ("add", "mul", "x", "view", "self", "view_09"):
            made.create_node("call_function", aten.mul.Tensor, (), {}, name)
    assert [str(node) for node in ours.nodes] == [str(node) for node in theirs.nodes]
    assert [(node.args, node.kwargs, node.meta) for node in ours.nodes][:-7] == [
        (fx.map_arg(node.args, copies.__getitem__), node.kwargs, node.meta) for node in original.nodes
    ][:-1]
    assert len(ours.find_nodes(op="call_function", target=aten.add.Tensor)) == 7
    ours.lint()


def test_calls_are_found_in_order_and_each_function_is_asked_about_once() -> None:
    made = Graph()
    x = made.placeholder("x")
    first = made.call_function(aten.mul.Tensor, (x, x))
    added = made.call_function(aten.add.Tensor, (x, first))
    last = made.call_function(aten.mul.Tensor, (first, added))
    with made.inserting_before(first):
        early = made.call_function(aten.add.Tensor, (x, x))
    erased = made.call_function(aten.sub.Tensor, (x, x))
    made.erase_node(erased)
    made.output(last)
    asked: list[object] = []

    def is_wanted(target: object) -> bool:
        asked.append(target)
        return target is not operator.getitem

    assert find_calls(made, is_wanted) == [early, first, added, last]
    assert sorted(map(str, asked)) == ["aten.add.Tensor", "aten.mul.Tensor"]
    assert find_calls(made, lambda target: target is aten.sub.Tensor) == []
    assert find_calls(made, lambda target: target is aten.add.Tensor) == [early, added]
