"""What a call is: its positional arguments, whether it computes or is a view, along which dimension it joins."""

from typing import Any

import torch
from torch import fx

from fxsolve.ops.access import Joined
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.graphs import find_calls
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten


def arguments(node: fx.Node, *defaults: Any) -> tuple[Any, ...]:
    """The positional arguments of a call, with `defaults` for those at the end that it leaves out."""
    return (*node.args, *defaults[len(node.args) :])


def join_dim(node: fx.Node) -> int:
    """The dimension along which a `cat` or `stack` joins."""
    return arguments(node, None, 0)[1] % len(node.meta["spec"].shape)


def is_join(node: fx.Node) -> bool:
    """Whether a call joins a list of tensors."""
    return access_of(node.target) == Joined()


def is_view(node: fx.Node) -> bool:
    """Whether a call looks at a tensor in another way."""
    return isinstance(node.target, OpOverload) and node.target.is_view


def computes(node: fx.Node) -> bool:
    """Whether a call does arithmetic, rather than look at a tensor in another way."""
    target = node.target
    return isinstance(target, OpOverload) and not (target.is_view or target is aten._unsafe_view.default)


def dead_views(graph: fx.Graph) -> set[fx.Node]:
    """Unused views, which functionalizing leaves behind in all iterations but the first.

    Unused computations do not count: an iteration whose last result nobody reads must still look like the others.
    """
    dead: set[fx.Node] = set()
    for node in reversed(find_calls(graph, lambda target: isinstance(target, OpOverload) and target.is_view)):
        if all(user in dead for user in node.users):
            dead.add(node)
    return dead
