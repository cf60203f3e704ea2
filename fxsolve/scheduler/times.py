"""Time labels: for each entry of each value of a sweep, the latest step that it can depend on.

A label is an integer tensor of the value's shape; -1 stands for "no step". Ops that only move data move the labels;
pointwise ops take the maximum; sums and products over a dimension take the maximum over the entries that take part,
and an entry multiplied by a structural zero takes no part. An op without a rule mixes all entries of all its inputs,
so a label is never too small.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

aten = torch.ops.aten
NEVER = -1


@dataclass(frozen=True)
class Timed:
    """A value that depends on steps, by its labels alone."""

    labels: Tensor


class TimeInterpreter(fx.Interpreter):
    """Runs a sweep on time labels; inputs that depend on no step come as ordinary tensors."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        timed = _timed_inputs((args, kwargs))
        if not timed:
            return super().call_function(target, args, kwargs)
        if target is operator.getitem:
            return args[0][args[1]]
        if target in _RULES:
            return _RULES[target](*args, **kwargs)
        if target in _MOVES:
            plain = pytree.tree_map_only(Timed, lambda value: value.labels, (args, kwargs))
            return _wrap(target(*plain[0], **plain[1]))
        if torch.Tag.pointwise in target.tags:
            return _pointwise(*args, *kwargs.values())
        return self._mix(timed)

    def run_node(self, n: fx.Node) -> Any:
        self._value = n.meta.get("val")
        return super().run_node(n)

    def _mix(self, timed: list[Timed]) -> Any:
        latest = max(int(value.labels.max()) for value in timed)
        return pytree.tree_map_only(Tensor, lambda v: Timed(torch.full(v.shape, latest)), self._value)


def _timed_inputs(arguments: Any) -> list[Timed]:
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Timed)]


def _wrap(result: Any) -> Any:
    return pytree.tree_map_only(Tensor, Timed, result)


def _pointwise(*arguments: Any) -> Timed:
    labels = [value.labels for value in arguments if isinstance(value, Timed)]
    shapes = [value.shape for value in arguments if isinstance(value, Tensor)]
    shape = torch.broadcast_shapes(*(label.shape for label in labels), *shapes)
    result = labels[0].expand(shape)
    for label in labels[1:]:
        result = torch.maximum(result, label)
    return Timed(result)


def _mul(left: Any, right: Any) -> Timed:
    """x * 0 does not depend on x where the zero is structural (and x is finite)."""
    product = _pointwise(left, right).labels
    for factor in (left, right):
        if isinstance(factor, Tensor):
            product = torch.where(factor == 0, NEVER, product)
    return Timed(product)


def _where(condition: Any, left: Any, right: Any) -> Timed:
    if isinstance(condition, Timed):
        return _pointwise(condition, left, right)
    return Timed(torch.where(condition, _labels(left), _labels(right)))


def _masked_fill(value: Any, mask: Any, _: Any) -> Timed:
    if isinstance(mask, Timed) or not isinstance(value, Timed):
        return _pointwise(value, mask)
    return Timed(torch.where(mask, NEVER, value.labels))


def _labels(value: Any) -> Tensor:
    if isinstance(value, Timed):
        return value.labels
    return torch.full(value.shape if isinstance(value, Tensor) else (), NEVER)


def _mm(left: Any, right: Any) -> Timed:
    if isinstance(left, Timed) and isinstance(right, Timed):
        reach = torch.maximum(left.labels.amax(-1, keepdim=True), right.labels.amax(-2, keepdim=True))
        return Timed(reach)
    if isinstance(right, Timed):
        assert isinstance(left, Tensor)
        return Timed(_latest_reached(right.labels.mT, left.mT).mT)
    return Timed(_latest_reached(left.labels, right))


def _latest_reached(labels: Tensor, weight: Tensor) -> Tensor:
    """max over k with weight[k, j] != 0 of labels[..., k]: (..., K), (K, N) -> (..., N).

    Rows of labels repeat (a batch shares them), so each distinct row is computed once.
    """
    rows, inverse = labels.reshape(-1, labels.shape[-1]).unique(dim=0, return_inverse=True)
    used = weight != 0
    reached = torch.stack([torch.where(used, row[:, None], NEVER).amax(0) for row in rows])
    return reached[inverse].reshape(*labels.shape[:-1], weight.shape[-1])


def _bmm(left: Any, right: Any) -> Timed:
    if isinstance(left, Timed) and isinstance(right, Tensor):
        return Timed(torch.stack([_latest_reached(a, b) for a, b in zip(left.labels, right, strict=True)]))
    if isinstance(left, Tensor):
        return Timed(torch.stack([_mm(a, Timed(b)).labels for a, b in zip(left, right.labels, strict=True)]))
    return _mm(left, right)


def _addmm(bias: Any, left: Any, right: Any, **_: Any) -> Timed:
    product = _mm(left, right)
    return _pointwise(bias, product)


def _reduce(value: Timed, dim: Any = None, keepdim: bool = False, **_: Any) -> Timed:
    dims = list(range(value.labels.dim())) if dim is None or dim == [] else dim
    return Timed(value.labels.amax(dims, keepdim=keepdim))


def _along(value: Timed, dim: int, *_: Any) -> Timed:
    """Each entry depends on all entries along `dim`."""
    return Timed(value.labels.amax(dim, keepdim=True).expand(value.labels.shape).contiguous())


def _same(value: Timed, *_: Any, **__: Any) -> Timed:
    return value


_MOVES = frozenset(
    {
        aten.view.default,
        aten._unsafe_view.default,
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
        aten.cat.default,
        aten.stack.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unbind.int,
        aten.flip.default,
    }
)

_RULES: dict[Any, Callable[..., Any]] = {
    aten._to_copy.default: _same,
    aten.clone.default: _same,
    aten.alias.default: _same,
    aten.detach.default: _same,
    aten.contiguous.default: _same,
    aten.mul.Tensor: _mul,
    aten.where.self: _where,
    aten.masked_fill.Scalar: _masked_fill,
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    aten.addmm.default: _addmm,
    aten.sum.dim_IntList: _reduce,
    aten.mean.dim: _reduce,
    aten.amax.default: _reduce,
    aten.amin.default: _reduce,
    aten.argmax.default: _reduce,
    aten._softmax.default: _along,
    aten._log_softmax.default: _along,
}
