"""Time labels: for each entry of each value of a sweep, the latest step that it can depend on.

A label is an integer tensor of the value's shape; -1 stands for "no step". Ops that only move data move the labels;
pointwise ops take the maximum; sums and products over a dimension take the maximum over the entries that take part,
and an entry multiplied by a structural zero takes no part. An op without a rule mixes all entries of all its inputs,
so a label is never too small.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from fxsolve.scheduler import spans
from fxsolve.scheduler.labels import NEVER, Timed, labels_of, mix, mix_samples, pointwise
from fxsolve.scheduler.products import addmm, bmm, convolution, mm

aten = torch.ops.aten


class TimeInterpreter(fx.Interpreter):
    """Runs a sweep on time labels; inputs that depend on no step come as ordinary tensors."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in _VIEWS:
            target = aten.reshape.default  # labels are laid out as they come
        timed = _timed_inputs((args, kwargs))
        if not timed:
            return super().call_function(target, args, kwargs)
        if target is operator.getitem:
            return args[0][args[1]]
        if not all(one.labels.numel() for one in timed):
            return mix(timed, self._value)  # nothing is the largest of no labels
        try:
            return self._checked(_rule(target)(*args, **kwargs))
        except NotImplementedError:
            samples = target in _BY_SAMPLE and isinstance(args[0], Timed) and _are_free(args[1:])
            return mix_samples(args[0], self._value) if samples else mix(timed, self._value)

    def _checked(self, result: Any) -> Any:
        """Labels of another form than their value would have are those of a call that the rule does not know."""
        if isinstance(result, Timed) and self._value is not None and _shape(self._value) != result.labels.shape:
            raise NotImplementedError
        return result

    def run_node(self, n: fx.Node) -> Any:
        self._value = n.meta.get("val")
        return super().run_node(n)


def _rule(target: Any) -> Callable[..., Any]:
    """What an op does to labels. NotImplementedError, here or from the rule: no more is known than that it mixes."""
    if target in _RULES:
        return _RULES[target]
    if target in _MOVES:
        return partial(_move, target)
    if target in _JOINS:
        return partial(_join, target)
    if target in _SCATTERS:
        return partial(spans.scattered, target)
    pointwise_op = isinstance(target, OpOverload) and torch.Tag.pointwise in target.tags
    if pointwise_op or target in _POINTWISE:
        return lambda *args, **kwargs: pointwise(*args, *kwargs.values())
    raise NotImplementedError


def _move(target: Any, value: Any, *args: Any) -> Any:
    """The labels move as the values do; where a place is computed from earlier steps, any entry may be read."""
    if target is aten.index_select.default and isinstance(args[1], Timed):
        return spans.index_select(value, *args)
    if not isinstance(value, Timed) or _timed_inputs(args):
        raise NotImplementedError
    return _wrap(target(value.labels, *args))


def _join(target: Any, values: Any, *args: Any) -> Any:
    return _wrap(target([labels_of(value) for value in values], *args))


def _shape(value: Any) -> torch.Size | None:
    """None for a call with several results."""
    return value.shape if isinstance(value, Tensor) else None


def _timed_inputs(arguments: Any) -> list[Timed]:
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Timed)]


def _are_free(arguments: Any) -> bool:
    """Whether no argument depends on any step."""
    return all(bool((value.labels == NEVER).all()) for value in _timed_inputs(arguments))


def _wrap(result: Any) -> Any:
    return pytree.tree_map_only(Tensor, Timed, result)


def _mul(left: Any, right: Any) -> Timed:
    """x * 0 does not depend on x where the zero is structural (and x is finite)."""
    product = pointwise(left, right).labels
    for factor in (left, right):
        if isinstance(factor, Tensor):
            product = torch.where(factor == 0, NEVER, product)
    return Timed(product)


def _where(condition: Any, left: Any, right: Any) -> Timed:
    if isinstance(condition, Timed):
        return pointwise(condition, left, right)
    return Timed(torch.where(condition, labels_of(left), labels_of(right)))


def _masked_fill(value: Any, mask: Any, _: Any) -> Timed:
    if isinstance(mask, Timed) or not isinstance(value, Timed):
        return pointwise(value, mask)
    return Timed(torch.where(mask, NEVER, value.labels))


def _same(value: Timed, *_: Any, **__: Any) -> Timed:
    return value


_VIEWS = frozenset({aten.view.default, aten._unsafe_view.default})

_JOINS = frozenset({aten.cat.default, aten.stack.default})

_MOVES = frozenset(
    {
        aten.reshape.default,
        aten.permute.default,
        aten.transpose.int,
        aten.t.default,
        aten.select.int,
        aten.slice.Tensor,
        aten.expand.default,
        aten.unsqueeze.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.index_select.default,
        aten.gather.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unsafe_split.Tensor,
        aten.unsafe_split_with_sizes.default,
        aten.unbind.int,
        aten.flip.default,
        aten.roll.default,
        aten.repeat.default,
    }
)

_SCATTERS = frozenset({aten.select_scatter.default, aten.slice_scatter.default})

# Pointwise without saying so.
_POINTWISE = frozenset({aten.hardtanh_backward.default, aten.masked_fill.Tensor, aten.floor_divide.default})

# Ops that keep the entries of their first dimension apart, where nothing else depends on a step.
_BY_SAMPLE = frozenset({aten.convolution.default, aten.native_group_norm.default})

_RULES: dict[Any, Callable[..., Any]] = {
    aten._to_copy.default: _same,
    aten.clone.default: _same,
    aten.alias.default: _same,
    aten.detach.default: _same,
    aten.contiguous.default: _same,
    aten.mul.Tensor: _mul,
    aten.where.self: _where,
    aten.masked_fill.Scalar: _masked_fill,
    aten.mm.default: mm,
    aten.bmm.default: bmm,
    aten.addmm.default: addmm,
    aten.convolution.default: convolution,
    aten.tril.default: _same,
    aten.triu.default: _same,
    aten.index.Tensor: spans.index,
    aten.index_copy.default: spans.placed,
    aten.index_fill.int_Scalar: spans.placed,
    aten.constant_pad_nd.default: spans.padded,
    aten.cumsum.default: spans.cumulative,
    aten.cumprod.default: spans.cumulative,
    aten.sort.default: spans.along_twice,
    aten.max.dim: spans.reduced_twice,
    aten.min.dim: spans.reduced_twice,
    aten.linalg_vector_norm.default: spans.norm,
    aten.native_layer_norm.default: spans.layer_norm,
    aten._softmax_backward_data.default: spans.along_both,
    aten._log_softmax_backward_data.default: spans.along_both,
    **dict.fromkeys(
        (
            aten.sum.default,
            aten.sum.dim_IntList,
            aten.mean.default,
            aten.mean.dim,
            aten.amax.default,
            aten.amin.default,
            aten.argmax.default,
            aten.argmin.default,
            aten.prod.dim_int,
            aten.logsumexp.default,
            aten.var.correction,
            aten.std.correction,
            aten.any.dim,
            aten.all.dim,
        ),
        spans.reduced,
    ),
    **dict.fromkeys((aten._softmax.default, aten._log_softmax.default), spans.along),
}
