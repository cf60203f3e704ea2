"""The calls of a record that make a tensor as a view of another one."""

import operator
from collections.abc import Container
from typing import Any

from torch import Tensor, fx
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import get_gradient_edge

from fxsolve.capture.raw_calls import changes_shape, is_view
from fxsolve.state.stores import Route, Step
from fxsolve.torch_compat.operators import OpOverload, schema_of
from fxsolve.torch_compat.tensors import hooks_of


def route_of(node: fx.Node, leaves: Container[fx.Node], others: Container[fx.Node]) -> tuple[fx.Node, Route] | None:
    """The leaf that a tensor is a view of, or else the farthest one of the others, and the calls that lead from there.

    All nodes but the leaves are those that `written_node` gives. A leaf is reached from itself by no call.
    """
    if node in leaves:
        return node, ()
    steps: list[Step] = []
    found = None
    while (before := _step_before(node)) is not None:
        node, step = written_node(before[0]), before[1]
        steps.append(step)
        if node in leaves:
            return node, tuple(reversed(steps))
        if node in others:
            found = node, tuple(reversed(steps))
    return found


def written_node(node: fx.Node) -> fx.Node:
    """The node that stands for a tensor before the program wrote into it: the same tensor."""
    while (target := _written_argument(node)) is not None:
        node = target
    return node


def _written_argument(node: fx.Node) -> fx.Node | None:
    function: Any = node.target
    if not isinstance(function, OpOverload) or not schema_of(function).is_mutable or changes_shape(function):
        return None
    returned = [one.alias_info for one in schema_of(function).returns]
    if len(returned) != 1 or returned[0] is None:
        return None
    written = [(k, one) for k, one in enumerate(schema_of(function).arguments) if one.is_write]
    if len(written) != 1:
        return None
    number, argument = written[0]
    found = node.args[number] if number < len(node.args) else node.kwargs.get(argument.name)
    return found if isinstance(found, fx.Node) else None


def _step_before(node: fx.Node) -> tuple[fx.Node, Step] | None:
    """The tensor that a node is a view of, and the call that makes it."""
    part: Any = None
    if node.target is operator.getitem:
        node, part = node.args  # pyright: ignore[reportAssignmentType]
    function: Any = node.target
    if not is_view(function) or len(node.all_input_nodes) != 1:
        return None
    base, *args = node.args
    assert isinstance(base, fx.Node)
    return base, Step(function, tuple(args), dict(node.kwargs), part)


def is_plain(view: Tensor, base: Tensor) -> bool:
    """Whether autograd knows the way from a view back to its base as that of views alone.

    A function whose backward is written in Python may do something else.
    """
    if not base.requires_grad or hooks_of(view) or view.retains_grad:
        return False
    wanted = get_gradient_edge(base)
    node: Any
    node, number = get_gradient_edge(view)[:2]
    while (node, number) != (wanted.node, wanted.output_nr):
        following = [edge for edge in node.next_functions if edge[0] is not None]
        if isinstance(node, BackwardCFunction) or len(following) != 1:
            return False
        node, number = following[0]
    return True
