"""Fused layers of attention for inference, taken apart into what they compute."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.lower.attention import attended

_PADDING = 1  # the type of a mask of keys, (N, S); others are (L, S), or (N, heads, L, S)


def encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """`_transformer_encoder_layer_fwd`, (N, L, E) -> (N, L, E)."""
    first, second = (norm_weight_1, norm_bias_1), (norm_weight_2, norm_bias_2)

    def normed(x: Tensor, weights: tuple[Tensor, Tensor], wanted: bool) -> Tensor:
        return F.layer_norm(x, (embed_dim,), *weights, eps) if wanted else x

    y = normed(src, first, norm_first)
    projections = (qkv_weight, qkv_bias, proj_weight, proj_bias)
    found, _ = multi_head_attention(y, y, y, embed_dim, num_heads, *projections, mask, False, True, mask_type)
    x = normed(src + found, first, not norm_first)
    hidden = F.linear(normed(x, second, norm_first), ffn_weight_1, ffn_bias_1)
    hidden = F.gelu(hidden) if use_gelu else F.relu(hidden)
    return normed(x + F.linear(hidden, ffn_weight_2, ffn_bias_2), second, not norm_first)


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`_native_multi_head_attention`: (N, L, E) and twice (N, S, E) -> (N, L, E), weights (N, [heads,] L, S)."""
    if query is key and key is value:
        projected = F.linear(query, qkv_weight, qkv_bias).chunk(3, -1)
    else:
        projected = map(F.linear, (query, key, value), qkv_weight.chunk(3), qkv_bias.chunk(3))
    q, k, v = (one.unflatten(-1, (num_head, -1)).transpose(1, 2) for one in projected)
    seen = None if mask is None else ~_hidden(mask, mask_type)
    found = attended(q, k, v, seen)
    result = F.linear(found.transpose(1, 2).flatten(2), proj_weight, proj_bias)
    if not need_weights:
        return result, query.new_empty(0)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    weights = (scores if seen is None else scores.masked_fill(~seen, -torch.inf)).softmax(-1)
    return result, weights.mean(1) if average_attn_weights else weights


def _hidden(mask: Tensor, mask_type: int | None) -> Tensor:
    """Which keys are hidden, as it is broadcast to (N, heads, L, S)."""
    hidden = mask if mask.dtype == torch.bool else mask != 0
    return hidden[:, None, None] if mask_type == _PADDING else hidden
