"""Samplers of torch's fused layers: each entry is computed once, on a canvas and in a growing text."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.rewrite.recorded.layers import open_layers

B, V, WIDTH, LENGTH = 2, 7, 16, 14
Program = Callable[[Tensor], Tensor]


class Encoder(nn.Module):
    """A causal language model of `nn.TransformerEncoder`: (B, T) -> (B, T, V)."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, 2, 2 * WIDTH, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.words, self.places = nn.Embedding(V, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, V)

    def forward(self, idx: Tensor) -> Tensor:
        count = idx.shape[1]
        x = self.words(idx) + self.places(torch.arange(count))
        mask = nn.Transformer.generate_square_subsequent_mask(count)
        return self.head(self.encoder(x, mask=mask, is_causal=True))


class Attentive(nn.Module):
    """One `nn.MultiheadAttention` with a mask of truth values."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(V, WIDTH), nn.Linear(WIDTH, V)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.words(idx)
        ahead = torch.ones(idx.shape[1], idx.shape[1], dtype=torch.bool).triu(1)
        return self.head(x + self.attention(x, x, x, attn_mask=ahead)[0])


def grown(model: nn.Module) -> Program:
    def sample(idx: Tensor) -> Tensor:
        for _ in range(LENGTH - 1):
            idx = torch.cat([idx, torch.multinomial(model(idx)[:, -1].softmax(-1), 1)], 1)
        return idx

    return sample


def canvas(model: nn.Module) -> Program:
    def sample(idx: Tensor) -> Tensor:
        words = torch.zeros(B, LENGTH, dtype=torch.long)
        words[:, :1] = idx
        for t in range(1, LENGTH):
            words[:, t] = torch.multinomial(model(words)[:, t - 1].softmax(-1), 1)[:, 0]
        return words

    return sample


@pytest.mark.parametrize("written", [grown, canvas])
@pytest.mark.parametrize("make", [lambda: Encoder(False), lambda: Encoder(True), Attentive], ids=["post", "pre", "one"])
@torch.no_grad()
def test_each_entry_is_computed_once(
    make: Callable[[], nn.Module], written: Callable[[nn.Module], Program], doubles: None
) -> None:
    torch.manual_seed(0)
    program, idx = written(make().eval()), torch.randint(0, V, (B, 1))
    fast = fxsolve.compile(program, (idx,), schedule="incremental", backend="eager", tolerance=1e-9)
    for seed in range(3):
        torch.manual_seed(seed)
        expected, state = program(idx), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(fast(idx), expected)
        assert torch.equal(torch.get_rng_state(), state)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.sweeps == 1
    assert "in every step whole" not in " ".join(str(fast.report()).split())


@torch.no_grad()
def test_a_layer_that_is_called_with_one_size_stays_one_call() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, batch_first=True).eval()
    graph = fxsolve.capture(lambda x: layer(layer(x)), torch.randn(B, 5, WIDTH)).module.graph
    assert "_transformer_encoder_layer_fwd" in str(graph)
    assert open_layers(graph) is graph
