"""Which entries of the values of a step are seen by anything: those behind a mask are not, whatever they hold."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.final import labels_of
from fxsolve.ops import access
from fxsolve.ops.call import Call, bind
from fxsolve.ops.domains.entries import Entries, entries_of
from fxsolve.torch_compat.operators import OpOverload

Labels = Mapping[fx.Node, Any]


def needed_entries(step: fx.GraphModule, labels: Labels) -> dict[fx.Node, Tensor]:
    """For each node of which some entries are seen by nothing, the entries that are."""
    needed: dict[fx.Node, Tensor] = {}
    for node in reversed(step.graph.nodes):
        if not isinstance(node.meta.get("val"), Tensor) or not node.users:
            continue
        seen = [_seen(node, user, needed.get(user), labels) for user in node.users]
        if all(one is not None for one in seen):
            found = torch.stack([one for one in seen if one is not None]).any(0)
            if not bool(found.all()):
                needed[node] = found
    return needed


def _seen(node: fx.Node, user: fx.Node, of_user: Tensor | None, labels: Labels) -> Tensor | None:
    """Which entries of `node` its user sees; None for all of them."""
    if not isinstance(user.target, OpOverload):
        return None
    call = bind(user.target, user.args, user.kwargs, None)
    kind, shape = call.fact.access, node.meta["val"].shape
    found = None
    if isinstance(kind, access.Softmax):
        found = ~_entries(labels[node]).low
    elif isinstance(kind, access.SamePlace | access.Chosen | access.SameEntries):
        found = _through(call, node, labels)
        if of_user is not None:
            found = of_user if found is None else found & of_user
    if found is None or user.meta["val"].shape != shape or bool(found.all()):
        return None
    return found.expand(shape)


def _through(call: Call, node: fx.Node, labels: Labels) -> Tensor | None:
    """Which entries a pointwise op sees, that replaces, multiplies by zero or hides the others."""
    match call.name:
        case "masked_fill" if call["self"] is node:
            return _known(call["mask"], labels, wanted=False)
        case "where" if call["self"] is node:
            return _known(call["condition"], labels, wanted=True)
        case "where" if call["other"] is node:
            return _known(call["condition"], labels, wanted=False)
        case "mul":
            other = call["other"] if call["self"] is node else call["self"]
            return ~_entries(labels[other]).zero if isinstance(other, fx.Node) else None
        case "add":
            other = call["other"] if call["self"] is node else call["self"]
            return ~_entries(labels[other]).low if isinstance(other, fx.Node) else None
    return None


def _known(mask: Any, labels: Labels, wanted: bool) -> Tensor | None:
    value = labels.get(mask)
    return (value.bool() if wanted else ~value.bool()) if isinstance(value, Tensor) else None


def _entries(value: Any) -> Entries:
    found = labels_of(value)
    return entries_of(value) if found is None else found
