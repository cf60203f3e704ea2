"""What a sum over steps of one value comes to: one contraction of stacked factors.

    sum_t  A_t B_t            =  einsum("tik,tkj->ij", A, B)      one product over T * k terms
    sum_t  u_t[:, None] v_t   =  einsum("ti,tj->ij", u, v)        outer products, one product over T
    sum_t  sum_b x_t[b]       =  sum over the first two dimensions of x

Ops that are linear in one argument commute with the sum: transposes, views that add or drop dimensions of size one,
sums, means and constant factors are read through. Exact over the reals; in floating point the additions are made in
another order, with an error of at most n eps / (1 - n eps) times the sum of absolute values for n added terms,
the same bound as for the sum in order (Higham, Accuracy and Stability of Numerical Algorithms, sections 3.1 and 4.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import prod
from typing import Any, TypeGuard

import torch
from torch import fx

from fxsolve.ir.calls import arguments

aten = torch.ops.aten

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """A value of the body with one label for each of its dimensions."""

    node: fx.Node
    labels: Labels


@dataclass(frozen=True)
class Contraction:
    """scale * product of the factors, summed over the steps and over every label that `output` does not name."""

    factors: tuple[Factor, ...]
    output: Labels
    scale: int | float = 1


def contract(value: fx.Node) -> tuple[Contraction, ...]:
    """The sum over steps of `value`, as contractions of values further up in the body, to be added up."""
    fresh = count()
    labels = _fresh(value, fresh)
    whole = _read_through(Contraction((Factor(value, labels),), labels), fresh)
    factors = _factors(whole.factors[0], fresh)
    if factors is None or not _pays(factors, whole):
        return (whole,)
    parts = [_read_through(Contraction((factor,), factor.labels), fresh) for factor in factors]
    product = replace(whole, factors=tuple(part.factors[0] for part in parts))
    product = replace(product, scale=whole.scale * parts[0].scale * parts[1].scale)
    return (product,) if whole.factors[0].node.target not in _ADDED else _with_bias(whole, product, fresh)


def size_of(factors: tuple[Factor, ...], label: int) -> int:
    """The number of entries along a label."""
    found = [f.node.meta["spec"].shape[f.labels.index(label)] for f in factors if label in f.labels]
    return max(found, default=1)


def _with_bias(whole: Contraction, product: Contraction, fresh: Iterator[int]) -> tuple[Contraction, ...]:
    """beta * bias + alpha * product."""
    node, labels = whole.factors[0].node, whole.factors[0].labels
    bias: Any = node.args[0]
    alpha, beta = (node.kwargs.get(name, 1) for name in ("alpha", "beta"))
    own = _broadcast(bias, labels, node, fresh)
    sizes = zip(labels, node.meta["spec"].shape, strict=True)
    absent = prod(size for label, size in sizes if label not in whole.output and label not in own)
    first = replace(whole, factors=(Factor(bias, own),), scale=whole.scale * beta * absent)  # pyright: ignore
    return _read_through(first, fresh), replace(product, scale=product.scale * alpha)  # pyright: ignore


def _pays(factors: tuple[Factor, Factor], whole: Contraction) -> bool:
    """Whether a product is more than one entry by entry, which is cheaper to multiply out and add up."""
    dtypes = {node.meta["spec"].dtype for node in (*(factor.node for factor in factors), whole.factors[0].node)}
    if len(dtypes) > 1 or (not (dtype := dtypes.pop()).is_floating_point and not dtype.is_complex):
        return False
    left, right = ({k for k in one.labels if size_of(factors, k) > 1} for one in factors)
    output = {k for k in whole.output if size_of(factors, k) > 1}
    return bool((left ^ right) & output) or not output


def _factors(whole: Factor, fresh: Iterator[int]) -> tuple[Factor, Factor] | None:
    """The two factors whose product `whole` is, with labels for what it sums over."""
    node, labels = whole.node, whole.labels
    left, right = (*node.args[node.target in _ADDED :], None, None)[:2]
    if not _is_tensor(left) or not _is_tensor(right):
        return None
    inner = next(fresh)
    match node.target:
        case aten.mul.Tensor:
            own = _broadcast(left, labels, node, fresh), _broadcast(right, labels, node, fresh)
            return Factor(left, own[0]), Factor(right, own[1])
        case aten.mm.default | aten.addmm.default:
            return Factor(left, (labels[0], inner)), Factor(right, (inner, labels[1]))
        case aten.bmm.default | aten.baddbmm.default:
            return Factor(left, (labels[0], labels[1], inner)), Factor(right, (labels[0], inner, labels[2]))
        case aten.mv.default | aten.addmv.default:
            return Factor(left, (labels[0], inner)), Factor(right, (inner,))
        case aten.dot.default:
            return Factor(left, (inner,)), Factor(right, (inner,))
    return None


_ADDED = (aten.addmm.default, aten.addmv.default, aten.baddbmm.default)


# Linear ops that are read through.


def _read_through(sum_: Contraction, fresh: Iterator[int]) -> Contraction:
    """The same sum of what the linear ops in front of its one factor are applied to."""
    while (before := _before(sum_, sum_.factors[0], fresh)) is not None:
        sum_ = before
    return sum_


def _before(sum_: Contraction, factor: Factor, fresh: Iterator[int]) -> Contraction | None:
    node, labels = factor.node, factor.labels
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not _keeps_dtype(node, source) or not _entries(source):
        return None
    moved = _moved(node, source, labels, fresh)
    if moved is not None:
        return replace(sum_, factors=(Factor(source, moved),))
    if node.target in _SUMS:
        scale = sum_.scale * _entries(node) / _entries(source) if node.target in _MEANS else sum_.scale
        return replace(sum_, factors=(Factor(source, _unsummed(node, source, labels, fresh)),), scale=scale)
    scale = _scale(node)
    return None if scale is None else replace(sum_, factors=(Factor(source, labels),), scale=sum_.scale * scale)


def _entries(node: fx.Node) -> int:
    return prod(node.meta["spec"].shape)


def _is_tensor(value: object) -> TypeGuard[fx.Node]:
    """Whether an argument is a tensor, and neither a number nor one that changes with the step."""
    return isinstance(value, fx.Node) and hasattr(value.meta.get("spec"), "shape")


def _keeps_dtype(node: fx.Node, source: fx.Node) -> bool:
    return _is_tensor(source) and node.meta["spec"].dtype == source.meta["spec"].dtype


def _scale(node: fx.Node) -> int | float | None:
    """The constant by which an op multiplies."""
    match node.target, node.args[1:]:
        case aten.neg.default, ():
            return -1
        case ((aten.mul.Tensor | aten.mul.Scalar), (int() | float() as number,)):
            return number
        case ((aten.div.Tensor | aten.div.Scalar), (int() | float() as number,)) if number and not node.kwargs:
            return 1 / number
    return None


def _moved(node: fx.Node, source: fx.Node, labels: Labels, fresh: Iterator[int]) -> Labels | None:
    """The labels of the source of an op that only moves dimensions, or adds and drops those of size one."""
    shape: tuple[int, ...] = source.meta["spec"].shape
    order = list(range(len(shape)))
    match node.target, node.args[1:]:
        case aten.t.default, ():
            order.reverse()
        case aten.transpose.int, (int() as one, int() as two):
            order[one], order[two] = order[two], order[one]
        case aten.permute.default, ([*dims],):
            order = [int(dim) % len(shape) for dim in dims]  # pyright: ignore[reportArgumentType]
        case target, _ if target in _VIEWS:
            return _reshaped(node, shape, labels, fresh)
        case _:
            return None
    found = dict(zip(order, labels, strict=True))
    return tuple(found[k] for k in range(len(shape)))


def _reshaped(node: fx.Node, shape: tuple[int, ...], labels: Labels, fresh: Iterator[int]) -> Labels | None:
    kept = [(label, size) for label, size in zip(labels, node.meta["spec"].shape, strict=True) if size != 1]
    if [size for _, size in kept] != [size for size in shape if size != 1]:
        return None
    rest = iter(label for label, _ in kept)
    return tuple(next(fresh) if size == 1 else next(rest) for size in shape)


def _unsummed(node: fx.Node, source: fx.Node, labels: Labels, fresh: Iterator[int]) -> Labels:
    """The labels of what a reduction reduces: new ones for the dimensions that it sums over."""
    width = len(source.meta["spec"].shape)
    _, dims, keep, *_ = arguments(node, None, None, False)
    summed = {dim % width for dim in dims} if dims else set(range(width))
    if keep:
        return tuple(next(fresh) if k in summed else label for k, label in enumerate(labels))
    rest = iter(labels)
    return tuple(next(fresh) if k in summed else next(rest) for k in range(width))


def _broadcast(x: fx.Node, labels: Labels, out: fx.Node, fresh: Iterator[int]) -> Labels:
    """The labels of an argument of an elementwise op: none of the result's where it is repeated."""
    shape = x.meta["spec"].shape
    sizes = out.meta["spec"].shape[len(labels) - len(shape) :]
    own = labels[len(labels) - len(shape) :]
    return tuple(k if size == n else next(fresh) for k, size, n in zip(own, shape, sizes, strict=True))


def _fresh(node: fx.Node, fresh: Iterator[int]) -> Labels:
    return tuple(next(fresh) for _ in node.meta["spec"].shape)


_VIEWS = frozenset(
    {
        aten.view.default,
        aten._unsafe_view.default,
        aten.reshape.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.alias.default,
        aten.detach.default,
        aten.clone.default,
    }
)
_MEANS = frozenset({aten.mean.default, aten.mean.dim})
_SUMS = _MEANS | {aten.sum.default, aten.sum.dim_IntList}
