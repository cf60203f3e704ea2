"""Writes into parts that `unsafe_split` made: which may be writes again."""

import operator

import pytest
import torch
from torch import fx

from fxsolve.capture.functional.rewriter import WRITE
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.in_place import writes_of

aten = torch.ops.aten
SPEC = TensorSpec((2, 3), (6, 1), torch.float32, torch.device("cpu"))


def graph_of(reader: str) -> tuple[fx.Graph, list[fx.Node]]:
    """sigmoid_(part + 1), and something else that reads the part or the whole."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    whole = x if reader == "caller" else graph.call_function(aten.relu.default, (x,))
    split = graph.call_function(aten.unsafe_split.Tensor, (whole, 3, 1))
    part = graph.call_function(operator.getitem, (split, 0))
    others = [graph.call_function(aten.clone.default, (part,))] if reader == "earlier" else []
    others += [graph.call_function(aten.unsqueeze.default, (part, 0))] if reader == "view" else []
    added = graph.call_function(aten.add.Tensor, (part, 1))
    result = graph.call_function(aten.sigmoid.default, (added,))
    others += [graph.call_function(aten.clone.default, (part,))] if reader == "later" else []
    others += [graph.call_function(aten.clone.default, (whole,))] if reader == "whole" else []
    graph.output((result, *others, *([added] if reader == "result" else [])))
    for node in graph.nodes:
        node.meta["spec"] = SPEC
    added.meta[WRITE], result.meta[WRITE] = aten.add_.Tensor, aten.sigmoid_.default
    return graph, [added, result]


@pytest.mark.parametrize("reader", ["none", "earlier"])
def test_parts_that_nothing_reads_afterwards_are_written_into(reader: str) -> None:
    graph, calls = graph_of(reader)
    assert list(writes_of(graph)) == calls


@pytest.mark.parametrize("reader", ["caller", "later", "whole", "view"])
def test_parts_that_others_read_are_not_written_into(reader: str) -> None:
    assert not writes_of(graph_of(reader)[0])


def test_results_that_are_handed_out_are_not_written_into() -> None:
    graph, calls = graph_of("result")
    assert list(writes_of(graph)) == calls[:1]


def test_calls_that_took_the_place_of_a_write_are_none() -> None:
    graph, calls = graph_of("none")
    calls[0].target = aten.mul.Tensor
    assert not writes_of(graph)
