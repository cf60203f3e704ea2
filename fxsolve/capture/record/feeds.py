"""Tensors in rebound places become inputs of a record, as the next run finds other ones there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx

from fxsolve.capture.program import Backward, Example, Mutation, Role
from fxsolve.capture.record.changes import Changes
from fxsolve.errors import SideEffectError
from fxsolve.state.stores import Read, Same, Stores


@dataclass(frozen=True)
class Fed:
    """The parts of a record that differ once state is an input."""

    root: dict[str, Tensor]
    roles: dict[str, Role]
    example: Example
    mutations: tuple[Mutation, ...]
    stores: Stores


def feed(
    graph: fx.Graph,
    root: dict[str, Tensor],
    roles: dict[str, Role],
    example: Example,
    mutations: tuple[Mutation, ...],
    changes: Changes,
    backward: Backward | None,
) -> Fed:
    """Turn the attributes of `graph` that are among the candidates into placeholders behind the other inputs.

    Raises:
        SideEffectError: gradients flow into such a tensor.
    """
    used = _used(root, changes.candidates)
    if backward is not None and any(name in backward.places for name, _, _ in used):
        raise SideEffectError("the program reads state that wants gradients; detach it before the call.")
    first = len(example.inputs)
    inputs = {name: first + k for k, (name, _, _) in enumerate(used)}
    nodes = [_to_placeholder(graph, roles, name, number) for name, number in inputs.items()]
    return Fed(
        {name: tensor for name, tensor in root.items() if name not in inputs},
        _roles(roles, nodes),
        replace(
            example,
            inputs=(*example.inputs, *(example.attributes.get(name, tensor) for name, _, tensor in used)),
            attributes={name: tensor for name, tensor in example.attributes.items() if name not in inputs},
            state=tuple(tensor for _, _, tensor in used),
            before=changes.before,
        ),
        tuple(replace(one, place=inputs.get(str(one.place), one.place)) for one in mutations),
        replace(
            changes.stores,
            reads=tuple(read for _, read, _ in used),
            moves=tuple(one._replace(place=inputs.get(str(one.place), one.place)) for one in changes.stores.moves),
            shared=tuple(_renumbered(same, inputs) for same in changes.stores.shared),
        ),
    )


def _used(root: dict[str, Tensor], candidates: Sequence[tuple[Read, Tensor]]) -> list[tuple[str, Read, Tensor]]:
    """Of the candidates those that the graph reads as attributes, each once."""
    names = {id(tensor): name for name, tensor in root.items()}
    found = {id(tensor): (names[id(tensor)], read, tensor) for read, tensor in candidates if id(tensor) in names}
    return list(found.values())


def _to_placeholder(graph: fx.Graph, roles: dict[str, Role], name: str, number: int) -> fx.Node:
    old = next(node for node in graph.find_nodes(op="get_attr") if node.target == name)
    inputs = [node for node in graph.find_nodes(op="placeholder") if roles[node.name] == "input"]
    with graph.inserting_after(inputs[-1]) if inputs else graph.inserting_before():
        node = graph.create_node("placeholder", f"input_{number}")
    node.meta.update(old.meta)
    old.replace_all_uses_with(node)
    graph.erase_node(old)
    del roles[old.name]
    roles[node.name] = "input"
    return node


def _roles(roles: dict[str, Role], nodes: list[fx.Node]) -> dict[str, Role]:
    """In the order of the placeholders."""
    new = {node.name for node in nodes}
    given: dict[str, Role] = {name: role for name, role in roles.items() if role == "input" and name not in new}
    fed: dict[str, Role] = {node.name: "input" for node in nodes}
    others: dict[str, Role] = {name: role for name, role in roles.items() if role != "input"}
    return {**given, **fed, **others}


def _renumbered(same: Same, inputs: dict[str, int]) -> Same:
    if same.kind != "attribute" or str(same.base) not in inputs:
        return same
    return replace(same, kind="input", base=inputs[str(same.base)])
