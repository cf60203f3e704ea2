"""Scores of attention along a sequence that grows, which the program itself hides above the diagonal.

    softmax_j(s_ij + m_ij) v_j        m_ij = -inf for j > i

Row i < n_t of such scores gives no weight to what is not valid, j >= n_t > i, at any step t. That is so where the mask
is made of constants, whose values on the buffer are known. A triangle may be joined with a mask of keys, such as one of
padding, which hides them from all rows alike:

    m_ij = 0 if j <= i and key_j, else -inf

Rows i >= n_t see all that row n_t - 1 does, and so they are NaN only where that is.
"""

from math import inf
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.loops.padding.values import Dims, PaddedValue, Padder, growing_factor
from fxsolve.ops import access
from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import LOW, is_low


def is_square(dims: Dims) -> bool:
    """Whether the last two dimensions grow alike, and are not folded."""
    return len(dims) > 1 and dims[-1] == dims[-2] and len(dims[-1]) == 1 and growing_factor(dims[-1]) is not None


def above_diagonal(p: Padder, call: Call, dims: Dims) -> float | None:
    """What all entries (i, j) with j > i of a result are where that is known: -inf, for all that is low, or 0."""
    x = call.first
    if not is_square(dims) or not isinstance(x, fx.Node):
        return None
    value = p.value(x)
    above = value.above if is_square(value.dims) else None
    match call.fact.access:
        case access.Chosen():
            return -inf if _is_hidden(p, call) else None
        case access.SamePlace():
            return _flag(p, call, above) if _is_boolean(call.example) else _pointwise(p, call, above)
        case access.Softmax() if call.name in ("softmax", "_softmax"):
            return 0.0 if above == -inf and call["dim"] % len(dims) == len(dims) - 1 else None
        case access.SameEntries() | access.Reshaped() | access.Expanded():
            return above if above != 1 or _is_boolean(call.example) else None
    return None


def _is_hidden(p: Padder, call: Call) -> bool:
    """Whether a call puts a low number where a mask says so, which is above the diagonal.

    A mask of keys may hide all that a row sees; the row is a mean of all keys then, but for -inf.
    """
    hidden = call.name == "masked_fill"
    fill, mask = (call["value"], call["mask"]) if hidden else (call["other"], call["condition"])
    number, kept = _number(p, fill), call["self"]
    if number is None or not is_low(number):
        return False
    if hides_above(p, mask, hidden) or (number == -inf and p.value(mask).above == float(hidden)):
        return True
    is_hidden = isinstance(kept, fx.Node) and p.value(kept).above == -inf
    return is_hidden and number == -inf and _is_same_in_rows(p.value(mask))


def _number(p: Padder, number: object) -> float | None:
    """A number that is known."""
    if isinstance(number, fx.Node):
        known = p.known.of(p.value(number).node) if not p.value(number).dims else None
        number = known.item() if known is not None else None
    return number if isinstance(number, (int, float)) else None


def is_causal(p: Padder, mask: fx.Node | None) -> bool:
    """Whether a mask of attention hides from each query what comes behind it."""
    return mask is not None and (hides_above(p, mask, hidden=False) or p.value(mask).above == -inf)


def _flag(p: Padder, call: Call, above: float | None) -> float | None:
    """What all booleans above the diagonal are, 0 or 1, where all others are made of what is the same in each row."""
    x = call.first
    if call.name in ("bitwise_not", "logical_not") or (call.name in ("eq", "ne") and call["other"] == 0):
        is_known = above is not None and _is_boolean(x.meta["spec"])
        return (above if call.name == "ne" else 1 - above) if is_known and above is not None else None
    if call.name not in ("bitwise_and", "logical_and", "bitwise_or", "logical_or"):
        return None
    hidden, both = call.name.endswith("_or"), [call["self"], call["other"]]
    if not all(isinstance(one, fx.Node) for one in both):
        return None
    triangles = [one for one in both if _is_triangle(p, one, hidden)]
    is_alike = all(one in triangles or _is_same_in_rows(p.value(one)) for one in both)
    return float(hidden) if triangles and is_alike else None


def _is_boolean(spec: Any) -> bool:
    return getattr(spec, "dtype", None) == torch.bool


def _is_triangle(p: Padder, mask: fx.Node, hidden: bool) -> bool:
    """Whether all that is above the diagonal is `hidden`, and of all others no more than some keys of every row."""
    value = p.value(mask)
    if not _is_boolean(mask.meta["spec"]) or not hides_above(p, mask, hidden):
        return _is_boolean(mask.meta["spec"]) and value.above == float(hidden)
    return p.known.holds(value.node, lambda known: not bool((known == hidden).tril().any()))


def _is_same_in_rows(value: PaddedValue) -> bool:
    return len(value.dims) < 2 or value.dims[-2] == ()


def _pointwise(p: Padder, call: Call, above: float | None) -> float | None:
    """What is low stays low by what is added and by factors of 1 or more; 0 stays 0 by any factor."""
    other = call["other"]
    if call.name in ("mul", "div") and isinstance(other, (int, float)) and other > 0:
        factor = other if call.name == "mul" else 1 / other
        return above if factor < inf and (above == 0 or (above == -inf and factor >= 1)) else None
    if call.name not in ("add", "sub") or call["alpha"] not in (None, 1):
        return None
    added = [leaf for leaf in (call["self"], other) if isinstance(leaf, fx.Node)]
    masks = [leaf for leaf in added if call.name == "add" and hides_above(p, leaf)]
    stays = above == -inf or (call.name == "add" and any(p.value(leaf).above == -inf for leaf in added))
    is_sure = all(p.value(leaf).harmless for leaf in added if leaf not in masks)
    return -inf if is_sure and (masks or stays) else None


def hides_above(p: Padder, mask: fx.Node, hidden: bool = True) -> bool:
    """Whether a mask is known to hide all entries above the diagonal and none on it; `hidden` is what does so.

    A mask of numbers hides by those that are low, and has no others that are not finite.
    """
    value = p.value(mask)
    if not is_square(value.dims):
        return False

    def hides(known: Tensor) -> bool:
        key = (id(known), hidden)  # that of a value that is kept
        if key not in p.hiding:
            p.hiding[key] = _hides_above(known, hidden)
        return p.hiding[key]

    return p.known.holds(value.node, hides)


def _hides_above(known: Tensor, hidden: bool) -> bool:
    low = (known == hidden) if known.dtype == torch.bool else known <= LOW
    is_triangle = low.triu(1).sum() == torch.ones_like(low).triu(1).sum()
    is_finite = low | known.isfinite()
    return bool(is_triangle and is_finite.all() and not low.diagonal(dim1=-2, dim2=-1).any())


def takes_valid(a: PaddedValue, b: PaddedValue) -> bool:
    """Whether a product takes nothing of `b` that is not valid, for its weights, the rows of `a`, are 0 there."""
    return is_square(a.dims) and a.above == 0 and b.harmless
