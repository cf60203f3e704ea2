"""Programs that grow a tensor by `cat`, compiled: the same values and samples, and what was found in them."""

import math

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.report.data import LoopReport

VOCABULARY, WIDTH, STEPS = 13, 8, 7


class Recurrent(nn.Module):
    """Generation with a state: only the newest token is read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(VOCABULARY, WIDTH), nn.GRUCell(WIDTH, WIDTH)
        self.read = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        h = torch.zeros(len(tokens), WIDTH)
        for _ in range(STEPS):
            h = self.cell(self.embed(tokens[:, -1]), h)
            tokens = torch.cat((tokens, torch.multinomial(torch.softmax(self.read(h), -1), 1)), 1)
        return tokens


class Attention(nn.Module):
    """Causal self-attention with its mask in a buffer, as minGPT writes it."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.parts, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (part.view(b, t, 2, c // 2).transpose(1, 2) for part in self.parts(x).split(c, dim=2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(c // 2)
        scores = scores.masked_fill(self.get_buffer("mask")[:, :, :t, :t] == 0, -math.inf)
        return self.mix((torch.softmax(scores, -1) @ v).transpose(1, 2).contiguous().view(b, t, c))


class GPT(nn.Module):
    """Generation without a cache: every step runs the model on all tokens so far."""

    def __init__(self, block: int = 16, steps: int = STEPS) -> None:
        super().__init__()
        self.block, self.steps = block, steps
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(block, WIDTH)
        self.norm, self.attend, self.after = nn.LayerNorm(WIDTH), Attention(block), nn.LayerNorm(WIDTH)
        self.read = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def logits(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(0, tokens.shape[1]).unsqueeze(0))
        x = x + self.attend(self.norm(x))
        return self.read(self.after(x))

    def forward(self, tokens: Tensor) -> Tensor:
        for _ in range(self.steps):
            seen = tokens if tokens.shape[1] <= self.block else tokens[:, -self.block :]
            logits = self.logits(seen)[:, -1, :] / 0.8
            least, _ = torch.topk(logits, 5)
            logits[logits < least[:, [-1]]] = -math.inf
            tokens = torch.cat((tokens, torch.multinomial(torch.softmax(logits, -1), 1)), dim=1)
        return tokens


class Decoder(nn.Module):
    """Attends to an encoded sequence, and collects its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.read = nn.GRUCell(2 * WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, encoded: Tensor) -> Tensor:
        h, y = encoded.mean(1), encoded.new_zeros(len(encoded), WIDTH)
        outputs = torch.empty(len(encoded), 0, WIDTH)
        for _ in range(STEPS):
            weights = torch.softmax((encoded @ h.unsqueeze(2)).squeeze(2), 1)
            context = (weights.unsqueeze(1) @ encoded).squeeze(1)
            h = self.cell(torch.cat([y, context], 1), h)
            y = self.read(h)
            outputs = torch.cat([outputs, y.unsqueeze(1)], dim=1)
        return outputs


class Cached(nn.Module):
    """Keys and values of earlier steps are kept, and joined with those of each new step."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        keys, values = self.k(x).unsqueeze(1), self.v(x).unsqueeze(1)
        for _ in range(STEPS):
            keys = torch.cat([keys, self.k(x).unsqueeze(1)], dim=1)
            values = torch.cat([values, self.v(x).unsqueeze(1)], dim=1)
            weights = torch.softmax(self.q(x).unsqueeze(1) @ keys.transpose(1, 2), -1)
            x = x + torch.tanh(weights @ values).squeeze(1)
        return x


def tokens() -> Tensor:
    return torch.randint(VOCABULARY, (2, 3))


def compared(model: nn.Module, draw) -> tuple[fxsolve.Compiled, list[tuple[Tensor, Tensor]]]:
    """The compiled model, and what it and the original give for two inputs and the same random numbers."""
    fast = fxsolve.compile(model, backend="eager", schedule="gs")
    pairs: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for seed in (1, 2):
            x = draw()
            torch.manual_seed(seed)
            expected, after = model(x), torch.get_rng_state()
            torch.manual_seed(seed)
            pairs.append((fast(x), expected))
            assert torch.equal(after, torch.get_rng_state())
    assert fast.report().status == "emitted"
    return fast, pairs


def longest(fast: fxsolve.Compiled) -> LoopReport:
    return max(fast.report().loops, key=lambda loop: (loop.length, loop.calls))


@pytest.mark.parametrize(
    ("model", "draw"), [(Recurrent, tokens), (Decoder, lambda: torch.randn(2, 5, WIDTH))], ids=["recurrent", "decoder"]
)
def test_a_sequence_that_is_only_appended_to_is_bitwise_the_same(model, draw) -> None:
    fast, pairs = compared(model(), draw)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert longest(fast).length >= STEPS - 1
    assert not fast.report().notes


def test_generation_over_the_whole_sequence_gives_the_same_samples() -> None:
    fast, pairs = compared(GPT().eval(), tokens)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert longest(fast).length >= STEPS - 1
    assert any("prefix of" in read for read in longest(fast).reads)
    (note,) = fast.report().notes
    assert "were rolled: shapes change at every step" in note
    assert "sums may round differently" in note


def test_generation_beyond_the_context_gives_the_same_samples() -> None:
    """Once the network sees no more than its context, every step is like the one before."""
    fast, pairs = compared(GPT(block=6, steps=12).eval(), tokens)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert longest(fast).length == 8
    assert any("prefix of" in read for read in longest(fast).reads)


def test_a_cache_of_keys_and_values_is_a_buffer() -> None:
    fast, pairs = compared(Cached(), lambda: torch.randn(2, WIDTH))
    for one, other in pairs:
        torch.testing.assert_close(one, other)
    assert longest(fast).length == STEPS
    assert "dim 1 of aten.cat.default" in fast.report().notes[0]


def test_a_growing_loop_without_a_rule_is_left_alone_with_its_reason() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(STEPS):
            x = torch.cat([x, torch.tanh(x.sort(1).values[:, :1] - x.mean(1, keepdim=True))], 1)
        return x

    fast = fxsolve.compile(program, backend="eager")
    x = torch.randn(2, 3)
    assert torch.equal(fast(x), program(x))
    report = fast.report()
    assert report.status == "left alone"
    assert "were not rolled: shapes change at every step (dim" in report.reason
    assert "aten.sort.default at" in report.reason
    assert "test_growing.py:" in report.reason
    assert report.reason in report.notes
