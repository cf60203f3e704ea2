"""The inverse of the transformer flow with a cache of keys and values."""

import torch
from torch import Tensor

from by_hand.gpt import CachedLayer
from networks.tarflow import Block, TarFlow


def inverse_of_block(block: Block, z: Tensor) -> Tensor:
    """As `Block.inverse`."""
    z = block.turn(z)
    x = z.clone()
    layers = [CachedLayer(layer, len(z), z.shape[1]) for layer in block.layers]  # pyright: ignore
    for t in range(1, z.shape[1]):
        h = block.first(x[:, t - 1]) + block.place[t - 1]
        for layer in layers:
            h = layer(h, t - 1)
        a, b = block.last(h).chunk(2, dim=1)
        x[:, t] = z[:, t] * torch.exp(torch.tanh(a)) + b
    return block.turn(x)


def inverse(flow: TarFlow, z: Tensor) -> Tensor:
    """As `TarFlow.inverse`."""
    with torch.no_grad():
        for block in reversed(flow.blocks):
            z = inverse_of_block(block, z)  # pyright: ignore[reportArgumentType]
    return z
