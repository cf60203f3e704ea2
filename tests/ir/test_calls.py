"""What is said of a call agrees with what the call does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

from fxsolve.ir.calls import arguments, computes, dead_views, is_view, join_dim
from fxsolve.ir.tensor_spec import spec_of

aten = torch.ops.aten

CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (aten.view.default, ([6],)),
    (aten.select.int, (0, 1)),
    (aten.t.default, ()),
    (aten.detach.default, ()),
    (aten.exp.default, ()),
    (aten.clone.default, ()),
    (aten.sum.default, ()),
]


def call(target: Any, *args: Any) -> fx.Node:
    graph = fx.Graph()
    return graph.call_function(target, (graph.placeholder("x"), *args))


@pytest.mark.parametrize(("target", "args"), CALLS)
def test_a_view_is_a_call_whose_result_lies_in_the_memory_of_its_argument(target: Any, args: tuple[Any, ...]) -> None:
    x = torch.rand(2, 3)
    shares = target(x, *args).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    node = call(target, *args)
    assert is_view(node) == shares
    assert computes(node) != shares


def test_what_is_no_operator_neither_looks_nor_computes() -> None:
    node = fx.Graph().placeholder("x")
    assert not is_view(node)
    assert not computes(node)
    assert not computes(call(aten._unsafe_view.default, [6]))  # a view in all but its name


def test_arguments_at_the_end_that_a_call_leaves_out_have_their_defaults() -> None:
    node = call(aten.softmax.int, 1)
    assert arguments(node, None, 0, "dtype") == (*node.args, "dtype")
    assert arguments(node) == node.args


@given(st.booleans(), st.integers(-2, 1) | st.none())
def test_the_dimension_of_a_join_is_the_one_that_grows(stacked: bool, dim: int | None) -> None:
    parts = [torch.rand(3, 3), torch.rand(3, 3)]
    target = aten.stack.default if stacked else aten.cat.default
    node = fx.Graph().call_function(target, (parts,) if dim is None else (parts, dim))
    joined: Tensor = target(*node.args)
    node.meta["spec"] = spec_of(joined)
    assert joined.shape[join_dim(node)] == (2 if stacked else 6)
    entry = joined.select(join_dim(node), 0)
    assert torch.equal(entry, parts[0] if stacked else parts[0].select(dim or 0, 0))


def test_only_views_that_nothing_but_dead_views_read_are_dead() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    read, unread = graph.call_function(aten.t.default, (x,)), graph.call_function(aten.t.default, (x,))
    behind = graph.call_function(aten.select.int, (unread, 0, 0))
    unwanted = graph.call_function(aten.exp.default, (x,))  # it computes, so its iteration looks like the others
    graph.output((graph.call_function(aten.exp.default, (read,)),))
    assert dead_views(graph) == {unread, behind}
    assert unwanted not in dead_views(graph)
