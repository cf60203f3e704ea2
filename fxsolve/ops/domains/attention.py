"""Labels of fused attention and of fused recurrent layers, which look along time by a rule of their own."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import LOW, NEVER, Entries, entries, entries_of, is_free
from fxsolve.torch_compat.trees import pytree


def attention(call: Call) -> Any:
    """y[..., i, :] depends on query i, and on the keys and values that its mask admits."""
    query, key, value = (entries_of(call[name]).latest.amax(-1) for name in ("query", "key", "value"))
    seen = torch.maximum(key, value)  # (..., S)
    if seen.shape[:-1] != query.shape[:-1]:  # heads that share keys
        seen = seen.amax(-2, keepdim=True).expand(*query.shape[:-1], -1)
    mask, hidden = _mask(call), _hidden(call, query.shape[-1], seen.shape[-1], query.device)
    hidden = hidden & ~hidden.all(-1, keepdim=True)  # where all are hidden, kernels differ in what they read
    admitted = seen[..., None, :] if is_free(mask) else torch.maximum(seen[..., None, :], entries_of(mask).latest)
    reached = torch.where(hidden, NEVER, admitted).amax(-1)
    latest = torch.maximum(query, reached)

    def spread(result: Tensor) -> Entries:
        if result.shape[:-1] == latest.shape:
            return entries(latest[..., None].expand(result.shape))
        return entries(latest if result.shape == latest.shape else latest.max().expand(result.shape))

    return pytree.tree_map_only(Tensor, spread, call.example)


def _mask(call: Call) -> Any:
    return call["attn_mask"] if "attn_mask" in call.arguments else call["attn_bias"]


def _hidden(call: Call, queries: int, keys: int, device: torch.device) -> Tensor:
    """Which keys a query does not see, (..., L, S)."""
    none = torch.zeros(queries, keys, dtype=torch.bool, device=device)
    if call["is_causal"]:
        none = ~torch.ones_like(none).tril()
    mask = _mask(call)
    if mask is None:
        return none
    if isinstance(mask, Entries):
        return none | (mask.low if mask.true is None else mask.zero)  # as numbers that are added, zeros hide nothing
    return none | (~mask if mask.dtype == torch.bool else mask <= LOW)


_PADDING = 1  # the type of a mask of keys, (N, S); others are (L, S), or (N, heads, L, S)


def attention_layer(call: Call) -> Any:
    """Fused layers over (N, L, E), whose masks are true, or not zero, where a key is hidden."""
    names = ("query", "key", "value") if "query" in call.arguments else ("src",)
    known, mask = [entries_of(call[name]).latest.amax(-1) for name in names], call["mask"]
    if not is_free([call[name] for name in call.arguments if name not in names]) or isinstance(mask, Entries):
        raise NotImplementedError
    seen = torch.stack(known[-2:]).amax(0)
    hidden = torch.zeros((), dtype=torch.bool, device=seen.device).expand(1, known[0].shape[1], seen.shape[1])
    if mask is not None:
        given = mask if mask.dtype == torch.bool else mask != 0
        hidden = given[:, None] if call["mask_type"] == _PADDING else given if given.dim() == 2 else given.all(-3)
    hidden = hidden & ~hidden.all(-1, keepdim=True)
    latest = torch.maximum(known[0], torch.where(hidden, NEVER, seen[:, None]).amax(-1))

    def spread(result: Tensor) -> Entries:
        if result.shape[:2] == latest.shape:
            return entries(latest[..., None].expand(result.shape))
        return entries(latest.max().expand(result.shape))

    return pytree.tree_map_only(Tensor, spread, call.example)


def recurrence(call: Call) -> Any:
    """Of a layer over (T, N, F): the results up to its own step, and the states of the sample."""
    value, states = entries_of(call["input"]), [entries_of(call[name]) for name in ("hx_", "cx_")]
    weights = [call[name] for name in call.arguments if name.startswith("weight")]
    if not is_free(weights) or value.latest.dim() != 3 or call["batch_sizes"]:
        raise NotImplementedError
    steps = value.latest.amax(-1)  # (T, N)
    first = torch.maximum(*(state.latest.reshape(-1, *state.shape[-2:]).amax((0, -1)) for state in states))
    ahead = steps.flip(0) if call["reverse"] else steps
    seen = torch.maximum(ahead.cummax(0).values, first)
    last, seen = seen[-1], seen.flip(0) if call["reverse"] else seen

    def spread(result: Tensor) -> Entries:
        if result.dim() == 3 and result.shape[:2] == seen.shape:
            return entries(seen[..., None].expand(result.shape))
        if result.dim() >= 2 and result.shape[-2] == len(last):
            return entries(last[:, None].expand(result.shape))
        return entries(last.max().expand(result.shape))

    return pytree.tree_map_only(Tensor, spread, call.example)
