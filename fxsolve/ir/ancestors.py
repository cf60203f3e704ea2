"""What calls depend on within one graph, and what depends on them."""

from collections.abc import Callable, Iterable

from torch import fx


def ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes and all that they depend on."""
    return closure(nodes, lambda node: node.all_input_nodes)


def dependents(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes and all that depends on them."""
    return closure(nodes, lambda node: node.users)


def dependents_alone(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes and all that depends on them and on nothing else."""
    found: set[fx.Node] = set()
    pending = [*nodes]
    while pending:
        found.add(node := pending.pop())
        # One that depends on several of them is looked at again when the last of these is found.
        pending += [user for user in node.users if user not in found and found.issuperset(user.all_input_nodes)]
    return found


def closure(nodes: Iterable[fx.Node], following: Callable[[fx.Node], Iterable[fx.Node]]) -> set[fx.Node]:
    """The nodes and all that are reached from them, by which a node is followed."""
    seen: set[fx.Node] = set()
    pending = [*nodes]
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            pending += following(node)
    return seen
