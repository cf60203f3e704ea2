"""The domain of dependence: for each entry of each value of a sweep, the latest step that it can depend on.

Ops that only move data move the labels; pointwise ops take the maximum; sums and products over a dimension take the
maximum over the entries that take part, and an entry multiplied by a zero takes no part, nor does one that a mask
hides from a softmax. That a product with zero is zero holds of finite numbers only. Beyond that a label is never too
small: an op without a row in the table mixes all entries of all its inputs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.ops import access
from fxsolve.ops.call import Call
from fxsolve.ops.domains import along, attention, moves, places, pointwise, products, windows
from fxsolve.ops.domains.entries import Entries, abstract_in, is_free, latest_in, unknown
from fxsolve.ops.interpret import Domain
from fxsolve.torch_compat.trees import pytree

_TRANSFERS: Mapping[type, Callable[[Call], Any]] = {
    access.SamePlace: pointwise.same_place,
    access.Chosen: pointwise.same_place,
    access.SameEntries: pointwise.same,
    access.ConstantFill: moves.filled,
    access.Rearranged: moves.moved,
    access.Spread: moves.moved,
    access.Permuted: moves.moved,
    access.Reshaped: moves.moved,
    access.Expanded: moves.moved,
    access.Cut: moves.moved,
    access.Parts: moves.moved,
    access.Triangle: moves.moved,
    access.RealParts: moves.real_parts,
    access.FromParts: moves.from_parts,
    access.Joined: moves.joined,
    access.Placed: moves.placed,
    access.Reduced: along.reduced,
    access.Softmax: along.softmax,
    access.Cumulative: along.cumulative,
    access.LayerNorm: along.layer_norm,
    access.GroupNorm: along.group_norm,
    access.BatchNorm: along.batch_norm,
    access.Convolution: windows.convolution,
    access.Pool: windows.pool,
    access.Product: products.product,
    access.Attention: attention.attention,
    access.AttentionLayer: attention.attention_layer,
    access.Recurrence: attention.recurrence,
    access.LookUp: places.look_up,
    access.Selected: places.selected,
    access.Gathered: places.gathered,
    access.Indexed: places.indexed,
    access.Copied: places.copied,
    access.SlicesAdded: places.added,
    access.Scattered: places.scattered,
    access.Put: places.put,
}


class Dependence(Domain):
    """Values are `Entries`."""

    def is_abstract(self, value: Any) -> bool:
        return isinstance(value, Entries)

    def transfer(self, call: Call) -> Any:
        """By the rule for the access of the op; where that says no more, by what holds of every op."""
        known = abstract_in(call.arguments)
        if not all(one.latest.numel() for one in known):
            return self.mix(call.arguments, call.example)  # nothing is the largest of no labels
        fact = call.fact
        rule = _TRANSFERS.get(type(fact.access))
        try:
            if rule is not None:
                return _checked(rule(call), call.example)
        except NotImplementedError:
            pass
        apart = fact.access.apart if isinstance(fact.access, access.Opaque) else fact.apart
        return _mix_apart(call, apart) or self.mix(call.arguments, call.example)

    def mix(self, arguments: Any, example: Any) -> Any:
        """Every entry depends on all that the arguments depend on."""
        known, latest = abstract_in(arguments), latest_in(arguments)
        return pytree.tree_map_only(Tensor, lambda one: unknown(one.shape, latest, known[0].latest.device), example)


def _checked(result: Any, example: Any) -> Any:
    """Labels of another form than their value would have are those of a call that the rule does not know."""
    pairs = zip(pytree.tree_leaves(result), pytree.tree_leaves(example), strict=False)
    for ours, value in pairs:
        if isinstance(ours, Entries) and isinstance(value, Tensor) and ours.shape != value.shape:
            raise NotImplementedError
    return result


def _mix_apart(call: Call, apart: int) -> Any:
    """Every entry depends on all entries of the first argument at its own place in the first dimensions, or None."""
    value, others = call.first, list(call.arguments.values())[1:]
    if not apart or not isinstance(value, Entries) or not is_free(others):
        return None
    latest = value.latest.flatten(apart).amax(apart)
    results = [one for one in pytree.tree_leaves(call.example) if isinstance(one, Tensor)]
    if any(one.shape[:apart] != latest.shape for one in results):
        return None

    def spread(result: Tensor) -> Entries:
        wide = latest.reshape(*latest.shape, *(1 for _ in result.shape[apart:])).expand(result.shape)
        return Entries(wide, *(torch.zeros_like(wide, dtype=torch.bool) for _ in range(2)))

    return pytree.tree_map_only(Tensor, spread, call.example)
