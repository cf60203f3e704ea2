"""The padding rule of every op that has one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from fxsolve.loops.padding.joins import broadcast, pad_arange, pad_cat, pad_factory
from fxsolve.loops.padding.products import (
    pad_attention,
    pad_embedding,
    pad_gather,
    pad_index,
    pad_product,
    pad_sum_of_product,
)
from fxsolve.loops.padding.reductions import (
    NEUTRAL,
    pad_cumulative,
    pad_layer_norm,
    pad_mean,
    pad_norm,
    pad_reduction,
    pad_softmax,
)
from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder
from fxsolve.loops.padding.views import (
    pad_expand,
    pad_permute,
    pad_same_shape,
    pad_select,
    pad_slice,
    pad_split,
    pad_squeeze,
    pad_transpose,
    pad_unsqueeze,
    pad_view,
)
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten

Rule = Callable[[Padder, fx.Node], PaddedValue | tuple[fx.Node, list[Dims]]]

_RULES: dict[Any, Rule] = {
    **dict.fromkeys(NEUTRAL, pad_reduction),
    **dict.fromkeys((aten.mean.dim, aten.mean.default), pad_mean),
    **dict.fromkeys((aten._softmax.default, aten._log_softmax.default, aten._safe_softmax.default), pad_softmax),
    **dict.fromkeys((aten.cumsum.default, aten.cumprod.default), pad_cumulative),
    **dict.fromkeys((aten.view.default, aten._unsafe_view.default, aten.reshape.default), pad_view),
    **dict.fromkeys((aten.transpose.int, aten.t.default), pad_transpose),
    **dict.fromkeys((aten.squeeze.dim, aten.squeeze.dims), pad_squeeze),
    **dict.fromkeys((aten.split.Tensor, aten.split_with_sizes.default, aten.unsafe_split.Tensor), pad_split),
    **dict.fromkeys((aten.mm.default, aten.bmm.default, aten.mv.default), pad_product),
    **dict.fromkeys((aten.addmm.default, aten.baddbmm.default), pad_sum_of_product),
    **dict.fromkeys((aten.arange.default, aten.arange.start), pad_arange),
    **dict.fromkeys((aten.zeros.default, aten.ones.default, aten.full.default), pad_factory),
    **dict.fromkeys((aten.new_zeros.default, aten.new_ones.default, aten.new_full.default), pad_factory),
    aten.linalg_vector_norm.default: pad_norm,
    aten.unbind.int: pad_split,
    aten.native_layer_norm.default: pad_layer_norm,
    aten.expand.default: pad_expand,
    aten.permute.default: pad_permute,
    aten.unsqueeze.default: pad_unsqueeze,
    aten.select.int: pad_select,
    aten.slice.Tensor: pad_slice,
    aten.cat.default: pad_cat,
    aten.embedding.default: pad_embedding,
    aten.gather.default: pad_gather,
    aten.index.Tensor: pad_index,
    aten._scaled_dot_product_flash_attention_for_cpu.default: pad_attention,
}

_SAME_SHAPE = (
    aten.alias.default,
    aten.detach.default,
    aten.clone.default,
    aten.contiguous.default,
    aten._to_copy.default,
    aten.lift_fresh_copy.default,
    aten.full_like.default,
    aten.zeros_like.default,
    aten.ones_like.default,
)

# an entry that is not valid may be zero, and dividing an integer by it raises an error
_DIVISIONS = ("floor_divide", "remainder", "fmod", "div", "true_divide")


def pad_call(p: Padder, node: fx.Node) -> PaddedValue | tuple[fx.Node, list[Dims]]:
    """The call `node` for buffers. NoRuleError if it has no rule, or one that does not cover its arguments."""
    if node.target in _SAME_SHAPE:
        return pad_same_shape(p, node)
    if node.target in (aten.tril.default, aten.triu.default):
        return _pad_triangle(p, node)
    if node.target in _RULES:
        return _RULES[node.target](p, node)
    if isinstance(node.target, OpOverload) and torch.Tag.pointwise in node.target.tags:
        return _pad_pointwise(p, node)
    raise NoRuleError("has no rule for a dimension that grows")


def _pad_triangle(p: Padder, node: fx.Node) -> PaddedValue:
    """Entry (i, j) is kept or not by i and j alone, where neither dimension is folded."""
    if any(len(dim) > 1 for dim in p.value(node.args[0]).dims[-2:]):
        raise NoRuleError("folds a growing dimension with another one")
    return pad_same_shape(p, node)


def _pad_pointwise(p: Padder, node: fx.Node) -> PaddedValue:
    """Entries depend on the entries at the same place alone."""
    values = [p.value(argument) for argument in node.all_input_nodes]
    integers = not any(value.node.meta["spec"].dtype.is_floating_point for value in values)
    if integers and node.target.__name__.split(".")[0] in _DIVISIONS and _divisor_grows(p, node):  # pyright: ignore
        raise NoRuleError("divides integers by entries that grow")
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: p.value(argument).node)
    return PaddedValue(p.emit(node.target, *args, **kwargs), broadcast([value.dims for value in values]))


def _divisor_grows(p: Padder, node: fx.Node) -> bool:
    return isinstance(node.args[1], fx.Node) and p.value(node.args[1]).grows
