"""The GPT of the example with a cache of keys and values."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comparing import Program
from gpt_sampling import GPT, Layer


class CachedLayer(nn.Module):
    """A layer for one token at a time; `keys` and `values` are those of all tokens so far: (B, H, block, E)."""

    def __init__(self, layer: Layer, samples: int, block: int) -> None:
        super().__init__()
        self.layer, self.heads = layer, layer.attention.heads
        weight = layer.attention.qkv.weight
        shape = (samples, self.heads, block, weight.shape[1] // self.heads)
        self.keys, self.values = weight.new_empty(shape), weight.new_empty(shape)

    def forward(self, x: Tensor, t: int) -> Tensor:
        """Token t: (B, C) -> (B, C)."""
        x = x + self._attention(self.layer.first_norm(x), t)
        return x + self.layer.mlp(self.layer.second_norm(x))

    def _attention(self, x: Tensor, t: int) -> Tensor:
        attention = self.layer.attention
        query, self.keys[:, :, t], self.values[:, :, t] = attention.qkv(x).view(len(x), 3, self.heads, -1).unbind(1)
        known = slice(t + 1)
        y = F.scaled_dot_product_attention(query[:, :, None], self.keys[:, :, known], self.values[:, :, known])
        return attention.out(y.flatten(1))


def sampler(model: GPT, steps: int, temperature: float = 0.9, top_k: int = 20) -> Program:
    """As `gpt_sampling.sampler`, for texts that fit into the block."""

    def generate(idx: Tensor) -> Tensor:
        given, tokens = idx.shape[1], idx.new_empty(len(idx), idx.shape[1] + steps)
        tokens[:, :given] = idx
        layers = [CachedLayer(layer, len(idx), model.block) for layer in model.layers]  # pyright: ignore
        with torch.no_grad():
            for t in range(given + steps - 1):
                x = model.tokens(tokens[:, t]) + model.positions.weight[t]
                for layer in layers:
                    x = layer(x, t)
                if t >= given - 1:
                    logits = model.head(model.norm(x)) / temperature
                    best, _ = torch.topk(logits, top_k)
                    logits[logits < best[:, [-1]]] = -float("inf")
                    tokens[:, t + 1] = torch.multinomial(F.softmax(logits, dim=-1), 1)[:, 0]
        return tokens

    return generate
