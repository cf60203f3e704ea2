"""The padding rule for each form of access: what a call of this form becomes, on buffers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import fx

from fxsolve.loops.padding import joins, products, reductions, scattered, views, windows
from fxsolve.loops.padding.harmless import makes_harmless
from fxsolve.loops.padding.joins import broadcast
from fxsolve.loops.padding.triangles import above_diagonal
from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder
from fxsolve.ops import access
from fxsolve.ops.call import Call, bind
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.torch_compat.operators import OpOverload

Rule = Callable[[Padder, Call], PaddedValue | tuple[fx.Node, list[Dims]]]


@dataclass(frozen=True)
class PaddedParts:
    """A call that has several results on buffers, and the dimensions of each."""

    node: fx.Node
    dims: list[Dims]
    harmless: bool


def pad_call(p: Padder, node: fx.Node, facts: Facts = FACTS) -> PaddedValue | PaddedParts:
    """The call `node` for buffers. NoRuleError if it has no rule, or one that does not cover its arguments."""
    if not isinstance(node.target, OpOverload):
        raise NoRuleError("has no rule for a dimension that grows")
    if any(one.meta["spec"] is None for one in node.all_input_nodes):
        raise NoRuleError("takes a number that changes with the loop around")
    call = bind(node.target, node.args, node.kwargs, node.meta["spec"], facts)
    if type(call.fact.access) not in _RULES:
        raise NoRuleError("has no rule for a dimension that grows")
    result = _RULES[type(call.fact.access)](p, call)
    if isinstance(result, PaddedValue):
        above = above_diagonal(p, call, result.dims)
        return replace(result, harmless=makes_harmless(p, call, above), above=above)
    return PaddedParts(*result, makes_harmless(p, call))


def _pad_pointwise(p: Padder, call: Call) -> PaddedValue:
    """Entries depend on the entries at the same place alone."""
    values = [p.value(leaf) for leaf in call.leaves if isinstance(leaf, fx.Node)]
    divisor = call[call.fact.divisor] if call.fact.divisor else None
    integers = not any(value.node.meta["spec"].dtype.is_floating_point for value in values)
    # an entry that is not valid may be zero, and dividing an integer by it raises an error
    if integers and isinstance(divisor, fx.Node) and p.value(divisor).grows:
        raise NoRuleError("divides integers by entries that grow")
    return PaddedValue(p.again(call, {}), broadcast([value.dims for value in values]))


def _pad_triangle(p: Padder, call: Call) -> PaddedValue:
    """Entry (i, j) is kept or not by i and j alone, where neither dimension is folded."""
    if any(len(dim) > 1 for dim in p.value(call.first).dims[-2:]):
        raise NoRuleError("folds a growing dimension with another one")
    return views.pad_same(p, call)


_RULES: Mapping[type, Rule] = {
    access.SamePlace: _pad_pointwise,
    access.Chosen: _pad_pointwise,
    access.SameEntries: views.pad_same,
    access.ConstantFill: joins.pad_filled,
    access.Made: joins.pad_filled,
    access.Reshaped: views.pad_reshaped,
    access.Permuted: views.pad_permuted,
    access.Expanded: views.pad_expanded,
    access.Cut: views.pad_cut,
    access.Parts: views.pad_parts,
    access.Triangle: _pad_triangle,
    access.Joined: joins.pad_joined,
    access.Reduced: reductions.pad_reduced,
    access.Softmax: reductions.pad_softmax,
    access.Cumulative: reductions.pad_cumulative,
    access.LayerNorm: reductions.pad_layer_norm,
    access.Product: products.pad_product,
    access.LookUp: products.pad_look_up,
    access.Gathered: products.pad_gathered,
    access.Indexed: products.pad_indexed,
    access.Scattered: scattered.pad_scattered,
    access.Put: scattered.pad_put,
    access.Attention: products.pad_attention,
    access.Rearranged: windows.pad_ends,
    access.Convolution: windows.pad_convolution,
}
