"""Calls that read memory as it is get a tensor that lies in memory as it did while recording."""

import operator
from collections.abc import Mapping
from typing import NoReturn

import torch
from torch import fx

from fxsolve.capture.program import Role
from fxsolve.errors import PartitionError
from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments, is_view
from fxsolve.ir.strides import is_dense, order_in_memory
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import Expanded, Permuted, Reshaped, SameEntries
from fxsolve.ops.facts import access_of
from fxsolve.rewrite.recorded.strided import index_strided
from fxsolve.torch_compat.graphs import Graph, find_calls

aten = torch.ops.aten
_READERS = frozenset({aten.as_strided.default, aten.as_strided_copy.default, aten.as_strided_scatter.default})
# They refuse tensors that are conjugated or negated by a flag.
_WITHOUT_FLAGS = {
    aten.view_as_real.default: (aten.resolve_conj.default,),
    aten.view.dtype: (aten.resolve_conj.default, aten.resolve_neg.default),
}
_FLAGGING = frozenset({aten._conj.default, aten._neg_view.default})


def pin_layouts(graph: fx.Graph, roles: Mapping[str, Role]) -> fx.Graph:
    """A copy of `graph` in which `as_strided` reads copies laid out as while recording; the graph itself without any.

    What is computed for all steps at once, or handed over by a solver, has the entries that were recorded, but not
    their strides; and a cotangent may begin anywhere in its memory. Raises `PartitionError` where no copy will do.
    """
    if not find_calls(graph, _READERS.__contains__):
        return graph
    copied = Graph.copy_of(graph)
    shared = _shared_with_inputs(copied)
    # What is handed out as a part of an input must stay one. As inputs are, it has its layout at every call.
    pinned = [
        node
        for node in copied.nodes
        if node.target in _READERS and not (node in shared and node.args[0].op in ("placeholder", "get_attr"))
    ]
    for node in pinned:
        _check(node, roles, node in shared)
    for node in pinned:
        if not index_strided(copied, node):
            _pin(copied, node)
    return copied


def has_flags(graph: fx.Graph) -> bool:
    """Whether some values may be conjugated or negated by a flag, which solvers do not hand on."""
    return bool(find_calls(graph, _FLAGGING.__contains__))


def resolve_flags(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` in which no call meets a flag that it refuses; the graph itself where there are no flags."""
    if not has_flags(graph):
        return graph
    copied = Graph.copy_of(graph)
    for node in copied.nodes:
        for resolve in _WITHOUT_FLAGS.get(node.target, ()):
            with copied.inserting_before(node):
                resolved = add_call(copied, resolve, node.args[:1], like=node)
            node.args = (resolved, *node.args[1:])
    return copied


def _check(node: fx.Node, roles: Mapping[str, Role], is_shared: bool) -> None:
    """Raise `PartitionError` where a copy of its argument would not do."""
    spec: TensorSpec = node.all_input_nodes[0].meta["spec"]
    if is_shared or not is_dense(spec) or not _lies_within(node, roles):
        _refuse(node)


def _refuse(node: fx.Node) -> NoReturn:
    where = node.meta["source"] or "the backward pass"
    raise PartitionError(f"as_strided at {where} reads memory that is not in its argument alone; index instead")


def _pin(graph: fx.Graph, node: fx.Node) -> None:
    base = node.all_input_nodes[0]
    order = order_in_memory(base.meta["spec"])
    is_turned = order != sorted(order)
    if is_turned and node.target is aten.as_strided_scatter.default:
        _refuse(node)
    with graph.inserting_before(node):
        if is_turned:
            base = add_call(graph, aten.permute.default, (base, order), like=node)
        copy = add_call(graph, aten.clone.default, (base,), {"memory_format": torch.contiguous_format}, node)
    node.args = (copy, *node.args[1:])


def _lies_within(node: fx.Node, roles: Mapping[str, Role]) -> bool:
    """Whether the call reads nothing but entries of its first argument, counted from the first of them."""
    writes, base = node.target is aten.as_strided_scatter.default, node.all_input_nodes[0]
    size, stride, offset = arguments(node, *(None,) * (4 + writes))[-3:]
    if offset is not None and not _began_its_memory(base, roles):
        return False
    reach = (offset or 0) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    return not all(size) or reach < torch.Size(base.meta["spec"].shape).numel()


def _began_its_memory(node: fx.Node, roles: Mapping[str, Role]) -> bool:
    """Whether the first entry of a value was the first in its memory while recording, where offsets count from."""
    while _begins_as_its_base(node) or _reads_from_beginning(node):
        node = node.all_input_nodes[0]
    call = node.all_input_nodes[0] if node.target is operator.getitem else node
    return roles[call.name] in ("cotangent", "noise") if call.op != "call_function" else not is_view(call)


def _begins_as_its_base(node: fx.Node) -> bool:
    """Whether a value is a view of all that its argument holds."""
    return access_of(node.target) in _WHOLE and is_view(node)


_WHOLE = (SameEntries(), Permuted(), Reshaped(), Expanded())


def _reads_from_beginning(node: fx.Node) -> bool:
    return node.target is aten.as_strided.default and arguments(node, *(None,) * 4)[3] in (None, 0)


def _shared_with_inputs(graph: fx.Graph) -> set[fx.Node]:
    """Views of inputs, or of views of them, that the caller gets."""
    found: set[fx.Node] = set()
    for output in graph.output_node().all_input_nodes:
        chain = [output]
        while chain[-1].target is operator.getitem or is_view(chain[-1]):
            chain.append(chain[-1].all_input_nodes[0])
        if chain[-1].op != "call_function":
            found.update(chain)
    return found
