"""What results and guards need of a backward pass becomes a part of the forward pass, if no cotangent reaches it."""

import torch
from torch import fx

from fxsolve.capture.functional.phases import bring_forward
from fxsolve.capture.program import Backward, Inner

aten = torch.ops.aten


class Passes:
    """A graph of x with a forward pass, and of its cotangent with a backward pass."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.x, self.cotangent = self.graph.placeholder("input_0"), self.graph.placeholder("cotangent_0")
        self.result = self.call(aten.exp.default, self.x, backward=False)

    def call(self, function: object, *args: fx.Node, backward: bool = True) -> fx.Node:
        node = self.graph.call_function(function, args)
        if backward:
            node.meta["backward"] = True
        return node

    def finish(self, gradient: fx.Node, *others: fx.Node, inner: tuple[Inner, ...] = ()) -> None:
        """Outputs are the result, the gradient, the others."""
        self.graph.output((self.result, gradient, *others))
        bring_forward(self.graph, Backward((0,), (0,), (1,), (frozenset({0}),), inner))
        self.graph.lint()

    def late(self) -> set[fx.Node]:
        return {node for node in self.graph.nodes if "backward" in node.meta}


def test_a_guard_on_what_the_backward_pass_computes_of_the_input_is_checked_before_it() -> None:
    passes = Passes()
    gradient = passes.call(aten.mul.Tensor, passes.cotangent, passes.result)
    square = passes.call(aten.square.default, passes.x)
    guard = passes.call(aten.sum.default, square)
    passes.finish(gradient, guard)
    assert passes.late() == {gradient}
    order = list(passes.graph.nodes)
    assert order.index(square) < order.index(guard) < order.index(gradient)


def test_a_guard_that_reads_a_cotangent_stays() -> None:
    passes = Passes()
    gradient = passes.call(aten.mul.Tensor, passes.cotangent, passes.result)
    norm = passes.call(aten.sum.default, gradient)
    guard = passes.call(aten.add.Tensor, norm, passes.x)
    passes.finish(gradient, guard)
    assert passes.late() == {gradient, norm, guard}


def test_a_part_that_gradients_alone_need_stays() -> None:
    passes = Passes()
    factor = passes.call(aten.square.default, passes.x)
    gradient = passes.call(aten.mul.Tensor, passes.cotangent, factor)
    passes.finish(gradient)
    assert passes.late() == {factor, gradient}


def test_a_gradient_or_a_total_that_no_cotangent_reaches_stays() -> None:
    passes = Passes()
    gradient = passes.call(aten.neg.default, passes.x)
    total = passes.call(aten.square.default, passes.x)
    passes.finish(gradient, total, inner=(Inner(0, frozenset(), 2),))
    assert passes.late() == {gradient, total}


def test_what_a_gradient_and_a_guard_both_need_is_brought_forward() -> None:
    passes = Passes()
    shared = passes.call(aten.square.default, passes.x)
    gradient = passes.call(aten.mul.Tensor, passes.cotangent, shared)
    guard = passes.call(aten.sum.default, shared)
    passes.finish(gradient, guard)
    assert passes.late() == {gradient}
    assert passes.graph.output_node().args[0] == (passes.result, gradient, guard)


def test_without_a_result_in_the_backward_pass_nothing_changes() -> None:
    passes = Passes()
    gradient = passes.call(aten.mul.Tensor, passes.cotangent, passes.result)
    before = list(passes.graph.nodes)
    passes.finish(gradient)
    assert list(passes.graph.nodes)[:-1] == before
