"""Dependence in a graph against all of its paths."""

import operator
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from fxsolve.ir.ancestors import ancestors, dependents, dependents_alone


@st.composite
def graphs(draw: st.DrawFn) -> list[fx.Node]:
    """Sums of two of the nodes before; often some that nothing reads."""
    graph = fx.Graph()
    nodes = [graph.placeholder("x"), graph.placeholder("y")]
    for _ in range(draw(st.integers(0, 6))):
        nodes.append(graph.call_function(operator.add, (draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes)))))
    return nodes


def is_path(start: fx.Node, end: fx.Node) -> bool:
    return start is end or any(is_path(start, read) for read in end.all_input_nodes)


@given(graphs(), st.data())
def test_a_node_is_among_the_ancestors_where_a_path_leads_to_one_of_them(
    nodes: list[fx.Node], data: st.DataObject
) -> None:
    some = data.draw(st.lists(st.sampled_from(nodes)))
    assert ancestors(some) == {node for node in nodes if any(is_path(node, end) for end in some)}


@given(graphs())
def test_what_depends_on_a_node_is_what_has_it_as_an_ancestor(nodes: list[fx.Node]) -> None:
    for one, other in product(nodes, nodes):
        assert (other in dependents([one])) == (one in ancestors([other]))


@given(graphs(), st.data())
def test_what_depends_on_nodes_alone_reads_nothing_else(nodes: list[fx.Node], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(nodes)))

    def is_alone(node: fx.Node) -> bool:
        return node in some or (bool(node.all_input_nodes) and all(map(is_alone, node.all_input_nodes)))

    assert dependents_alone(some) == {node for node in nodes if is_alone(node)}
