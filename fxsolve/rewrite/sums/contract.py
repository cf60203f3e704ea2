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

from torch import fx

from fxsolve.ops.access import Permuted, Product, Reduced, Reshaped, SameEntries
from fxsolve.ops.call import Call, bind, order_of
from fxsolve.torch_compat.operators import OpOverload

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
    return (product,) if _added(whole.factors[0].node) is None else _with_bias(whole, product, fresh)


def size_of(factors: tuple[Factor, ...], label: int) -> int:
    """The number of entries along a label."""
    found = [f.node.meta["spec"].shape[f.labels.index(label)] for f in factors if label in f.labels]
    return max(found, default=1)


def _with_bias(whole: Contraction, product: Contraction, fresh: Iterator[int]) -> tuple[Contraction, ...]:
    """beta * bias + alpha * product."""
    node, labels = whole.factors[0].node, whole.factors[0].labels
    bias = _added(node)
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
    call, labels = _call_of(whole.node), whole.labels
    if call is None:
        return None
    if call.name == "mul":
        left, right = call["self"], call["other"]
        if not _is_tensor(left) or not _is_tensor(right):
            return None
        own = _broadcast(left, labels, whole.node, fresh), _broadcast(right, labels, whole.node, fresh)
        return Factor(left, own[0]), Factor(right, own[1])
    if not isinstance(call.fact.access, Product):
        return None
    left, right = call[call.fact.access.left], call[call.fact.access.right]
    inner, rows, columns = next(fresh), _rank(left) - 1, _rank(right) - 1
    last = () if columns == 0 else (inner, labels[-1])
    return Factor(left, (*labels[:rows], inner)), Factor(right, (*labels[: columns - 1], *last) if last else (inner,))


def _added(node: fx.Node) -> Any:
    """What an op adds to its product."""
    call = _call_of(node)
    names = call.fact.access if call is not None else None
    return call[names.added] if call is not None and isinstance(names, Product) else None


def _call_of(node: fx.Node) -> Call | None:
    """What a node calls, if that is an op."""
    if not isinstance(node.target, OpOverload):
        return None
    return bind(node.target, node.args, node.kwargs, node.meta["spec"])


def _rank(node: fx.Node) -> int:
    return len(node.meta["spec"].shape)


# Linear ops that are read through.


def _read_through(sum_: Contraction, fresh: Iterator[int]) -> Contraction:
    """The same sum of what the linear ops in front of its one factor are applied to."""
    while (before := _before(sum_, sum_.factors[0], fresh)) is not None:
        sum_ = before
    return sum_


def _before(sum_: Contraction, factor: Factor, fresh: Iterator[int]) -> Contraction | None:
    node, labels, call = factor.node, factor.labels, _call_of(factor.node)
    source = call.first if call is not None else None
    if call is None or not isinstance(source, fx.Node) or not _keeps_dtype(node, source) or not _entries(source):
        return None
    scale, own = sum_.scale, _moved(call, source, labels, fresh)
    if own is None and isinstance(call.fact.access, Reduced) and call.fact.affine:
        own = _unsummed(call, source, labels, fresh)
        scale = scale * _entries(node) / _entries(source) if call.name == "mean" else scale
    if own is None and (number := _scale(call)) is not None:
        own, scale = labels, scale * number
    return None if own is None else replace(sum_, factors=(Factor(source, own),), scale=scale)


def _entries(node: fx.Node) -> int:
    return prod(node.meta["spec"].shape)


def _is_tensor(value: object) -> TypeGuard[fx.Node]:
    """Whether an argument is a tensor, and neither a number nor one that changes with the step."""
    return isinstance(value, fx.Node) and hasattr(value.meta.get("spec"), "shape")


def _keeps_dtype(node: fx.Node, source: fx.Node) -> bool:
    return _is_tensor(source) and node.meta["spec"].dtype == source.meta["spec"].dtype


def _scale(call: Call) -> int | float | None:
    """The constant by which an op multiplies."""
    number = call["other"]
    if call.name == "neg":
        return -1
    if not isinstance(number, (int, float)):
        return None
    if call.name == "div" and number and call["rounding_mode"] is None:
        return 1 / number
    return number if call.name == "mul" else None


def _moved(call: Call, source: fx.Node, labels: Labels, fresh: Iterator[int]) -> Labels | None:
    """The labels of the source of an op that only moves dimensions, or adds and drops those of size one."""
    if isinstance(call.fact.access, Permuted):
        found = dict(zip(order_of(call, _rank(source)), labels, strict=True))
        return tuple(found[k] for k in range(_rank(source)))
    if isinstance(call.fact.access, Reshaped | SameEntries):
        return _reshaped(call, source.meta["spec"].shape, labels, fresh)
    return None


def _reshaped(call: Call, shape: tuple[int, ...], labels: Labels, fresh: Iterator[int]) -> Labels | None:
    kept = [(label, size) for label, size in zip(labels, call.example.shape, strict=True) if size != 1]
    if [size for _, size in kept] != [size for size in shape if size != 1]:
        return None
    rest = iter(label for label, _ in kept)
    return tuple(next(fresh) if size == 1 else next(rest) for size in shape)


def _unsummed(call: Call, source: fx.Node, labels: Labels, fresh: Iterator[int]) -> Labels:
    """The labels of what a reduction reduces: new ones for the dimensions that it sums over."""
    width = _rank(source)
    summed = {dim % width for dim in call["dim"] or range(width)}
    if call["keepdim"]:
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
