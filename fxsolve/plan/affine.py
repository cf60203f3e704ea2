"""Whether the step of a repeat is affine in what it carries: s_t = A_t s_<t + b_t, with A_t and b_t free of the carry.

Each value of the body is free of the carry, affine in it, or neither; a rule for each op says which of the three its
result is. An op without a rule gives "neither", so the answer "affine" is a proof, up to rounding.
"""

import operator
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import torch
from torch import fx

from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.torch_compat.operators import OpOverload, schema_of
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten


class Degree(IntEnum):
    """How a value depends on the carry."""

    FREE = 0
    AFFINE = 1
    OTHER = 2


def is_affine(repeat: Repeat) -> bool:
    """Whether every carried output is proved to be affine in the carried inputs; False where nothing is carried."""
    carried = [read for read in repeat.reads if isinstance(read, (Lag, Prefix))]
    degrees = dict(zip(repeat.body.graph.find_nodes(op="placeholder"), map(_degree_of, repeat.reads), strict=True))
    for node in repeat.body.graph.nodes:
        if node.op == "call_function":
            degrees[node] = _apply(node, degrees)
    outputs: Any = repeat.body.graph.output_node().args[0]
    return bool(carried) and all(degrees[outputs[read.output]] <= Degree.AFFINE for read in carried)


def _degree_of(read: object) -> Degree:
    return Degree.AFFINE if isinstance(read, (Lag, Prefix)) else Degree.FREE


def _apply(node: fx.Node, degrees: dict[fx.Node, Degree]) -> Degree:
    arguments = [_highest(argument, degrees) for argument in node.args]
    options = _highest(node.kwargs, degrees)
    if max((*arguments, options), default=Degree.FREE) == Degree.FREE:
        return Degree.FREE
    if options > Degree.FREE or Degree.OTHER in arguments:
        return Degree.OTHER
    return _rule(node)(arguments)


def _highest(argument: Any, degrees: dict[fx.Node, Degree]) -> Degree:
    nodes = [leaf for leaf in pytree.tree_leaves(argument) if isinstance(leaf, fx.Node)]
    return max((degrees[node] for node in nodes), default=Degree.FREE)


# Rules: what an op makes of arguments that are free or affine, at least one of them affine.

_Rule = Callable[[Sequence[Degree]], Degree]


def _sum(_: Sequence[Degree]) -> Degree:
    return Degree.AFFINE


def _neither(_: Sequence[Degree]) -> Degree:
    return Degree.OTHER


def _shape(_: Sequence[Degree]) -> Degree:
    return Degree.FREE


def _affine_in(*positions: int) -> _Rule:
    """Affine in the arguments at these places together, whatever free values the others are."""

    def rule(arguments: Sequence[Degree]) -> Degree:
        others = [degree for place, degree in enumerate(arguments) if place not in positions]
        return Degree.OTHER if any(others) else Degree.AFFINE

    return rule


def _product_of(first: int, second: int) -> _Rule:
    """A product of two arguments, only one of which may depend on the carry; the others are added, or free numbers."""

    def rule(arguments: Sequence[Degree]) -> Degree:
        return Degree.OTHER if arguments[first] and arguments[second] else Degree.AFFINE

    return rule


def _rule(node: fx.Node) -> _Rule:
    if node.target is operator.getitem:
        return _sum
    target = node.target
    if not isinstance(target, OpOverload) or not _is_continuous(node):
        return _shape if target in _SHAPES else _neither
    if target in _RULES:
        return _RULES[target]
    return _affine_in(0) if _is_backward(target) else _neither


def _is_backward(target: OpOverload) -> bool:
    """Whether an op is a vector-Jacobian product, which is linear in the cotangent, its first argument."""
    arguments = schema_of(target).arguments
    return "_backward" in schema_of(target).name and bool(arguments) and arguments[0].name.startswith("grad")


def _is_continuous(node: fx.Node) -> bool:
    """Whether the results are real or complex numbers: conversions to integers and booleans are steps."""
    spec = node.meta["spec"]
    specs = [spec] if hasattr(spec, "dtype") else [one for one in spec if one is not None]
    return all(one.dtype.is_floating_point or one.dtype.is_complex for one in specs)


_SHAPES = frozenset(
    {
        aten.zeros_like.default,
        aten.ones_like.default,
        aten.full_like.default,
        aten.empty_like.default,
        aten.new_zeros.default,
        aten.new_ones.default,
        aten.new_full.default,
        aten.new_empty.default,
        aten.new_empty_strided.default,
    }
)
_SUMS = (
    aten.add.Tensor,
    aten.add.Scalar,
    aten.sub.Tensor,
    aten.sub.Scalar,
    aten.rsub.Tensor,
    aten.rsub.Scalar,
    aten.neg.default,
    aten.cat.default,
    aten.stack.default,
    aten.copy.default,
)
# Data movement, linear reductions and scalings: affine in the first argument, the others say where and how much.
_FIRST = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.alias.default,
    aten.detach.default,
    aten.clone.default,
    aten._to_copy.default,
    aten.t.default,
    aten.transpose.int,
    aten.permute.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.expand.default,
    aten.repeat.default,
    aten.as_strided.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.narrow.default,
    aten.diagonal.default,
    aten.unfold.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.unsafe_split.Tensor,
    aten.unsafe_split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    aten.flip.default,
    aten.roll.default,
    aten.tril.default,
    aten.triu.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.gather.default,
    aten.constant_pad_nd.default,
    aten.masked_fill.Scalar,
    aten.index_fill.int_Scalar,
    aten.scatter.value,
    aten.sum.default,
    aten.sum.dim_IntList,
    aten.mean.default,
    aten.mean.dim,
    aten.cumsum.default,
    aten.trace.default,
    aten.mul.Scalar,
    aten.div.Tensor,
    aten.div.Scalar,
)
_RULES: dict[OpOverload, _Rule] = {
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_FIRST, _affine_in(0)),
    **dict.fromkeys(_SHAPES, _shape),
    aten.mul.Tensor: _product_of(0, 1),
    aten.mm.default: _product_of(0, 1),
    aten.bmm.default: _product_of(0, 1),
    aten.mv.default: _product_of(0, 1),
    aten.dot.default: _product_of(0, 1),
    aten.linear.default: _product_of(0, 1),
    aten.convolution.default: _product_of(0, 1),
    aten.addmm.default: _product_of(1, 2),
    aten.addmv.default: _product_of(1, 2),
    aten.addbmm.default: _product_of(1, 2),
    aten.baddbmm.default: _product_of(1, 2),
    aten.addcmul.default: _product_of(1, 2),
    aten.addcdiv.default: _affine_in(0, 1),
    aten.lerp.Scalar: _affine_in(0, 1),
    aten.lerp.Tensor: _affine_in(0, 1),
    aten.where.self: _affine_in(1, 2),
    aten.masked_fill.Tensor: _affine_in(0, 2),
    aten.select_scatter.default: _affine_in(0, 1),
    aten.slice_scatter.default: _affine_in(0, 1),
    aten.diagonal_scatter.default: _affine_in(0, 1),
    aten.as_strided_scatter.default: _affine_in(0, 1),
    aten.scatter.src: _affine_in(0, 3),
    aten.scatter_add.default: _affine_in(0, 3),
    aten.index_copy.default: _affine_in(0, 3),
    aten.index_add.default: _affine_in(0, 3),
    aten.index_put.default: _affine_in(0, 2),
}
