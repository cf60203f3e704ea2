"""Labels of matrix products: an entry of a factor that is zero lets nothing of the other factor through."""

import torch
from torch import Tensor

from fxsolve.ops.access import Product
from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import NEVER, Entries, broadcast, entries, entries_of, latest_of, tells

_MOST_WORK = 10**10  # entries compared for one product; beyond that the answer would come too late


def product(call: Call) -> Entries:
    """(*, M, K) @ (*, K, N) or vectors, and what is added to it whatever the factors of both are."""
    fact = call.fact.access
    assert isinstance(fact, Product)
    left, right = entries_of(call[fact.left]), entries_of(call[fact.right])
    shape = (*left.shape[:-1], *right.shape[1:][-1:])
    tall = right if right.latest.dim() > 1 else right.all_alike(lambda part: part[:, None])
    found = _product(left.all_alike(torch.atleast_2d), tall).all_alike(lambda part: part.reshape(shape))
    if not fact.added:
        return found
    added, found = broadcast((call[fact.added], found))
    return entries(latest_of((added, found)), added.zero & found.zero)


def _product(left: Entries, right: Entries) -> Entries:
    if left.latest.dim() == 2:
        return _matrices(left, right)
    pairs = zip(*(_batch_of(one) for one in (left, right)), strict=True)
    known: dict[tuple[int, int], Entries] = {}  # a batch shares its labels, most often
    first: list[tuple[Entries, Entries]] = []
    parts = []
    for pair in pairs:
        number = next((k for k, one in enumerate(first) if _are_alike(one, pair)), None)
        if number is None:
            number = len(first)
            first.append(pair)
            known[number, 0] = _matrices(*pair)
        parts.append(known[number, 0])
    return Entries(*(torch.stack([getattr(one, name) for one in parts]) for name in ("latest", "zero", "low")))


def _batch_of(value: Entries) -> list[Entries]:
    return [Entries(*parts) for parts in zip(value.latest, value.zero, value.low, strict=True)]


def _are_alike(one: tuple[Entries, Entries], other: tuple[Entries, Entries]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a.latest, b.latest) and torch.equal(a.zero, b.zero) for a, b in pairs)


def _matrices(left: Entries, right: Entries) -> Entries:
    """max over k, where neither entry is zero, of the labels of left[i, k] and right[k, j]."""
    if left.shape[-1] == 0:
        raise NotImplementedError
    rows = latest_reached(left.latest, ~right.zero)
    columns = latest_reached(right.latest.mT, ~left.zero.mT).mT
    latest = torch.maximum(rows, columns)
    if not (tells(left) or tells(right)):
        return entries(latest)
    used = (~left.zero).double() @ (~right.zero).double()
    return entries(latest, used == 0)


def latest_reached(labels: Tensor, is_used: Tensor) -> Tensor:
    """max over k with is_used[k, j] of labels[..., k]: (..., K), (K, N) -> (..., N).

    Rows of labels repeat, as a batch shares them, and so do patterns of zeros: each distinct pair is computed once.
    """
    if bool((labels == NEVER).all()):
        return torch.full((), NEVER, device=labels.device).expand(*labels.shape[:-1], is_used.shape[-1])
    rows, row_of = labels.reshape(-1, labels.shape[-1]).unique(dim=0, return_inverse=True)
    patterns, pattern_of = is_used.byte().unique(dim=1, return_inverse=True)
    used = patterns.bool().mT
    if rows.numel() * len(used) > _MOST_WORK:
        raise NotImplementedError
    reached = torch.stack([torch.where(pattern, rows, NEVER).amax(1) for pattern in used], 1)
    return reached[row_of][:, pattern_of].reshape(*labels.shape[:-1], is_used.shape[-1])
