"""Writes into parts of a tensor that `unsafe_chunk` or `unsafe_split` made are writes again where steps run in order.

Such parts have gaps in memory, and so had the values that the program wrote there; a new tensor has none, and kernels
round by the layout. A part is written into only where nothing reads it afterwards, and nothing else the whole.
"""

import operator
from typing import Any

from torch import fx

from fxsolve.capture.functional.rewriter import WRITE
from fxsolve.ir.calls import aten, computes
from fxsolve.torch_compat.operators import OpOverload, overload_name_of, schema_of

_SPLITS = frozenset({aten.unsafe_split.Tensor, aten.unsafe_split_with_sizes.default})


def write_parts(graph: fx.Graph) -> None:
    """Turn calls back into the writes that they were."""
    for node, write in writes_of(graph).items():
        node.target = write


def writes_of(graph: fx.Graph) -> dict[fx.Node, OpOverload]:
    """The calls of a graph of ATen calls that may be the writes again that they were, and these."""
    found: dict[fx.Node, OpOverload] = {}
    seen: set[fx.Node] = set()
    for node in graph.nodes:
        target = node.args[0] if WRITE in node.meta and node.args else None
        if isinstance(target, fx.Node) and (target in found or _is_own_part(target)):
            is_last = all(user is node or (user in seen and _is_new(user)) for user in target.users)
            if is_last and _is_without_write(node.target, node.meta[WRITE]) and _is_like(node, target):
                found[node] = node.meta[WRITE]
        seen.add(node)
    return found


def _is_without_write(target: Any, write: OpOverload) -> bool:
    """Whether a call still is what became of the write: graphs that were rewritten hand meta data on."""
    if not isinstance(target, OpOverload) or overload_name_of(target) != overload_name_of(write):
        return False
    return schema_of(target).name + "_" == schema_of(write).name


def _is_like(node: fx.Node, target: fx.Node) -> bool:
    one, other = node.meta["spec"], target.meta["spec"]
    return (one.shape, one.dtype) == (other.shape, other.dtype)


def _is_own_part(node: fx.Node) -> bool:
    """Whether a value is a part of a new tensor that is read through its parts alone."""
    if node.target is not operator.getitem or node.all_input_nodes[0].target not in _SPLITS:
        return False
    (whole,) = node.all_input_nodes[0].all_input_nodes
    return _is_new(whole) and len(whole.users) == 1


def _is_new(node: fx.Node) -> bool:
    """Whether a call gives tensors that share no memory with others."""
    made: Any = node.target
    return computes(node) and made not in _SPLITS and not schema_of(made).is_mutable
