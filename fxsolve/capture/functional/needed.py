"""Which tensors from outside of a program its backward pass reads, as autograd kept them for it."""

import operator
from collections.abc import Iterable, Mapping

from torch import fx

from fxsolve.capture.program import Mutation, Role
from fxsolve.capture.raw_calls import is_view


def find_needed(graph: fx.Graph, roles: Mapping[str, Role], mutations: Iterable[Mutation]) -> tuple[int | str, ...]:
    """The places, numbers of inputs and targets of attributes, that the backward pass reads as they are, or in a view.

    Autograd raises an error where the tensor of one of them is written into before the backward pass, and for no other
    tensor. Those that the program itself writes into are left out: it reads what it has written.
    """
    inputs = [node for node in graph.find_nodes(op="placeholder") if roles.get(node.name) == "input"]
    leaves = [*enumerate(inputs), *((str(node.target), node) for node in graph.find_nodes(op="get_attr"))]
    written = {one.place for one in mutations if one.is_counted}
    return tuple(place for place, node in leaves if place not in written and _is_needed(node))


def _is_needed(leaf: fx.Node) -> bool:
    views = [leaf]
    for node in views:  # grows on the way
        for user in node.users:
            if is_view(user.target) or user.target is operator.getitem:
                views.append(user)
            elif "backward" in user.meta:
                return True
    return False
