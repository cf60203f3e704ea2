"""Products and attention at places: rows and columns, queries and their keys."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional as F

from fxsolve.lower.incremental.places import Numbers, Places, project
from fxsolve.lower.incremental.pointwise import broadcast
from fxsolve.lower.incremental.values import StepValues
from fxsolve.ops import access
from fxsolve.ops.call import Call
from fxsolve.torch_compat.dispatch import without_modes


def product(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """(*, I, K) @ (*, K, J) for rows i, columns j, or both."""
    fact, shape = call.fact.access, call.example.shape
    assert isinstance(fact, access.Product)
    left, right, rank = call[fact.left], call[fact.right], len(shape)
    if any(node.meta["val"].dim() != rank for node in (left, right)) or (call["alpha"], call["beta"]) not in _PLAIN:
        return None
    a = factor(values, left, places, shape, [dim for dim in places.dims if dim != rank - 1])
    b = factor(values, right, places, shape, [dim for dim in places.dims if dim != rank - 2])
    if rank == 2 and (a.dim(), b.dim()) == (3, 2):
        return _rows(values, call, places, a.squeeze(1), b).unsqueeze(1)
    if rank == 2 and (a.dim(), b.dim()) == (2, 3):
        # Of few columns BLAS is several times faster when they come as rows, in front of samples that lie side by side.
        found = torch.mm(b.squeeze(-1), a.t()).unsqueeze(-1)
    else:
        found = torch.matmul(a, b)
    return found + broadcast(values, call[fact.added], places, shape) if fact.added else found


_PLAIN = ((None, None), (1, 1))  # the factors of a product and of what is added to it


def _rows(values: StepValues, call: Call, places: Places, rows: Tensor, right: Tensor) -> Tensor:
    """(P, K) @ (K, J), by the op itself where it adds a vector to each row."""
    fact = call.fact.access
    assert isinstance(fact, access.Product)
    if not fact.added:
        return torch.mm(rows, right)
    if call[fact.added].meta["val"].dim() == 1:
        return call.run({fact.added: values.whole(call[fact.added]), fact.left: rows, fact.right: right})
    return torch.mm(rows, right) + broadcast(values, call[fact.added], places, call.example.shape).squeeze(1)


def factor(values: StepValues, node: fx.Node, places: Places, shape: Sequence[int], dims: Sequence[int]) -> Tensor:
    """A value at those of the places in a result of `shape` that lie along `dims`; whole where none does."""
    if not dims:
        return values.whole(node)
    return values.at(node, project(places, shape, {dim: dim for dim in dims}, node.meta["val"].shape))


def attention(values: StepValues, call: Call, places: Places, part: int | None) -> Tensor | None:
    """A query at a place looks at all keys, which its mask hides where they are not final."""
    shape, keys = call["query"].meta["val"].shape, call["key"].meta["val"].shape
    rank = len(shape)
    if part not in (0, None) or rank - 1 in places.dims or keys[:-2] != shape[:-2]:
        return None
    batch = [dim for dim in places.dims if dim < rank - 2]
    key, value = (factor(values, call[name], places, shape, batch) for name in ("key", "value"))
    mask = _seen(values, call, places, (*shape[:-1], keys[-2]))
    query = values.at(call["query"], places)
    if len(query) > 1 and places.dims == (rank - 2,):
        return _queries_together(query, key, value, mask, call["scale"])
    if len(query) > 1:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=call["scale"])
    # Fused kernels take no more dimensions than the call itself has.
    key, value = (one[0] if one.dim() > rank else one for one in (key, value))
    mask = mask[0] if mask is not None and mask.dim() > rank else mask
    return F.scaled_dot_product_attention(query[0], key, value, attn_mask=mask, scale=call["scale"])[None]


def _queries_together(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """(P, ..., 1, E), where the places are those of queries alone, by one call of (..., P, E).

    A mask that is the same for all queries comes without the places: (..., 1, S).
    """
    rows = mask
    if mask is not None and mask.dim() == query.dim():
        rows = mask.expand(len(query), *mask.shape[1:]).movedim(0, -2).squeeze(-3)
    found = F.scaled_dot_product_attention(query.movedim(0, -2).squeeze(-3), key, value, attn_mask=rows, scale=scale)
    return found.movedim(-2, 0).unsqueeze(-2)


def _seen(values: StepValues, call: Call, places: Places, shape: Sequence[int]) -> Tensor | None:
    """What is added to the scores (..., L, S) of queries at places."""
    mask = call["attn_mask"] if "attn_mask" in call.arguments else call["attn_bias"]
    dtype = call["query"].meta["val"].dtype
    known = _known(values, mask, call["is_causal"], shape)
    if known is not None and places.dims == (len(shape) - 2,) and places.count == 1:
        return values.once(("seen", places.key, *shape, mask), lambda: _of_each(values, known, places, shape, dtype))
    given = broadcast(values, mask, places, shape) if isinstance(mask, fx.Node) else None
    if given is not None and given.dtype == torch.bool:
        given = torch.zeros_like(given, dtype=dtype).masked_fill(~given, -math.inf)
    if not call["is_causal"]:
        return given
    ahead = values.once(("ahead", places.key, *shape), lambda: _ahead(values, places, shape, dtype))
    return ahead if given is None else given + ahead


def _known(values: StepValues, mask: fx.Node | None, is_causal: bool, shape: Sequence[int]) -> Numbers | None:
    """Which keys each query sees, (L, S), where that is the same in every run and all there is to a mask."""
    ahead = np.tril(np.ones(tuple(shape[-2:]), dtype=bool))
    if mask is None:
        return ahead if is_causal else None
    value = values.known(mask)
    if value is None or math.prod(value.shape[:-2]) != 1:
        return None
    with without_modes():
        given = value if value.dtype == torch.bool else value == 0
        if given is not value and not bool((given | (value == -math.inf)).all()):
            return None
        seen = np.broadcast_to(given.reshape(value.shape[-2:]).numpy(force=True), tuple(shape[-2:]))
    return seen & ahead if is_causal else seen


def _of_each(values: StepValues, seen: Numbers, places: Places, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """-inf at the keys that the one query of each step does not see, (1, 1, ..., S)."""
    row = values.store.seen(seen[places.table[:, 0]])
    return torch.zeros_like(row, dtype=dtype).masked_fill(~row, -math.inf).view(*(1 for _ in shape), shape[-1])


def _ahead(values: StepValues, places: Places, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """-inf at the keys behind each query, (P, 1, ..., L, S)."""
    rank = len(shape)
    if rank - 2 in places.dims:
        queries = values.store.row(project(places, shape, {rank - 2: 0}, shape[-2:])).view(-1, *(1 for _ in shape))
    else:
        queries = torch.arange(shape[-2], device=values.device)[:, None]
    hidden = torch.arange(shape[-1], device=values.device) > queries
    return torch.zeros_like(hidden, dtype=dtype).masked_fill(hidden, -math.inf)
