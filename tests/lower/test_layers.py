"""Fused layers of attention compute what they are taken apart into."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.lower.layers import encoder_layer, multi_head_attention

N, L, E, HEADS = 2, 5, 8, 2
CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False] * L, [False] * 3 + [True] * 2])
MASKS = {"none": (None, None), "causal": (CAUSAL, 0), "padding": (PADDING, 1)}


def weights(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(shape, dtype=torch.float64) / 2 for shape in shapes]


@pytest.mark.parametrize(("mask", "kind"), MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("use_gelu", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@torch.no_grad()
def test_an_encoder_layer(norm_first: bool, use_gelu: bool, mask: Tensor | None, kind: int | None, seed: int) -> None:
    torch.manual_seed(seed)
    (src,) = weights((N, L, E))
    projections = weights((3 * E, E), (3 * E,), (E, E), (E,))
    rest = weights((E,), (E,), (E,), (E,), (3 * E, E), (3 * E,), (E, 3 * E), (E,))
    given: Any = (src, E, HEADS, *projections, use_gelu, norm_first, 1e-5, *rest, mask, kind)
    expected = torch.ops.aten._transformer_encoder_layer_fwd(*given)
    torch.testing.assert_close(encoder_layer(*given), expected)


@pytest.mark.parametrize(("mask", "kind"), MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("average", [False, True])
@torch.no_grad()
def test_attention_of_many_heads_with_its_weights(
    average: bool, mask: Tensor | None, kind: int | None, seed: int
) -> None:
    torch.manual_seed(seed)
    (x,), projections = weights((N, L, E)), weights((3 * E, E), (3 * E,), (E, E), (E,))
    given: Any = (x, x, x, E, HEADS, *projections, mask, True, average, kind)
    torch.testing.assert_close(multi_head_attention(*given), torch.ops.aten._native_multi_head_attention(*given))


@torch.no_grad()
def test_it_is_what_the_module_computes() -> None:
    layer = nn.TransformerEncoderLayer(E, HEADS, 2 * E, batch_first=True).double().eval()
    (x,) = weights((N, L, E))
    attention, first, second = layer.self_attn, layer.norm1, layer.norm2
    found = encoder_layer(
        x, E, HEADS, attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight,
        attention.out_proj.bias, False, False, first.eps, first.weight, first.bias, second.weight, second.bias,
        layer.linear1.weight, layer.linear1.bias, layer.linear2.weight, layer.linear2.bias, CAUSAL, 0,
    )  # fmt: skip
    torch.testing.assert_close(found, layer(x, src_mask=CAUSAL, is_causal=True))
