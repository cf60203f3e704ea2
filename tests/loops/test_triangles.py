"""Attention over what grows is hidden above the diagonal by the program's own mask, which is the same in each step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.stages import capture, partition

B, T, V, E = 2, 8, 5, 4
aten = torch.ops.aten
INF = float("inf")

generator = torch.Generator().manual_seed(0)
TABLE, PLACES, HEAD = (torch.randn(*shape, generator=generator) for shape in ((V, E), (T + 1, E), (E, V)))
TRIL, CAUSAL = torch.tril(torch.ones(1, T + 1, T + 1)), torch.full((T + 1, T + 1), -INF).triu(1)
FIRST = torch.tensor([[1], [2]])

Scores = Callable[[Tensor], Tensor]
Net = Callable[[Tensor], Tensor]

# Each hides scores (B, n, n) of what comes behind.
HIDDEN: dict[str, Scores] = {
    "by a buffer": lambda s: s.masked_fill(TRIL[:, : s.shape[1], : s.shape[1]] == 0, -INF),
    "by a mask of the step": lambda s: s.masked_fill(torch.ones(s.shape[1:], dtype=torch.bool).triu(1), -1e9),
    "by what is added": lambda s: s + CAUSAL[: s.shape[1], : s.shape[1]],
    "by a choice": lambda s: torch.where(torch.ones(s.shape[1:]).tril() > 0, s / 2, -INF),
    "between others": lambda s: (s.tanh() + CAUSAL[: s.shape[1], : s.shape[1]]) * 1.5 + s.sigmoid(),
}
# Of these it is not known, or not so.
SEEN: dict[str, Scores] = {
    "not at all": lambda s: s,
    "and scaled down": lambda s: (s.tanh() + CAUSAL.clamp(min=-1e9)[: s.shape[1], : s.shape[1]]) * 1e-9,
    "on the diagonal too": lambda s: s.masked_fill(torch.ones_like(s[0], dtype=torch.bool).triu(0), -1e9),
    "by what depends on values": lambda s: s.masked_fill(s > 100, -INF),
    "by a mask with a hole": lambda s: s.masked_fill((CAUSAL < 0)[: s.shape[1], : s.shape[1]] & (s[0] > -9), -INF),
}


def attends(hide: Scores) -> Net:
    """Two layers of attention."""

    def net(words: Tensor) -> Tensor:
        x = F.embedding(words, TABLE) + PLACES[: words.shape[1]]
        for _ in range(2):
            x = x + F.softmax(hide(x @ x.transpose(1, 2)), -1) @ x
        return x @ HEAD

    return net


def by_a_call(words: Tensor) -> Tensor:
    x = F.embedding(words, TABLE)[:, None]
    for mask in (torch.ones(x.shape[2], x.shape[2], dtype=torch.bool).tril(), CAUSAL[: x.shape[2], : x.shape[2]]):
        x = x + F.scaled_dot_product_attention(x, x, x, attn_mask=mask)
    return x[:, 0] @ HEAD


def normed(words: Tensor) -> Tensor:
    """Norms of squares, and pairs that are turned by an angle for each place, as in a Llama."""
    x = F.embedding(words, TABLE)
    n = x.shape[1]
    for _ in range(2):
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        a, b, angle = h[..., ::2], h[..., 1::2], PLACES[:n, :2]
        h = torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(2)
        h = F.scaled_dot_product_attention(h[:, None], h[:, None], F.normalize(x, dim=-1)[:, None], is_causal=True)
        x = x + h[:, 0]
    return x @ HEAD


NETS: dict[str, Net] = {name: attends(hide) for name, hide in HIDDEN.items()} | {
    "by the call": by_a_call,
    "norms and rotations": normed,
}


def sampler(net: Net) -> Net:
    def sample(words: Tensor) -> Tensor:
        for _ in range(T):
            words = torch.cat((words, net(words)[:, -1].argmax(-1, keepdim=True)), 1)
        return words

    return sample


def masks(net: Net) -> int:
    """How many masks over what is not valid there are; they are another one in each step."""
    system = partition(capture(sampler(net), FIRST)).system
    assert system.repeats
    return sum(node.target is aten.ge.Scalar for repeat in system.repeats for node in repeat.body.graph.nodes)


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_what_the_program_hides_is_not_masked(name: str) -> None:
    assert masks(NETS[name]) == 0
    fast = fxsolve.compile(sampler(NETS[name]), (FIRST,), backend="eager", schedule="incremental")
    assert torch.equal(fast(FIRST), sampler(NETS[name])(FIRST))
    assert "incremental(" in str(fast.schedule), fast.report().reason


@pytest.mark.parametrize("name", SEEN)
@torch.no_grad()
def test_what_is_not_known_to_be_hidden_is_masked(name: str) -> None:
    net = attends(SEEN[name])
    assert masks(net) > 0
    fast = fxsolve.compile(sampler(net), (FIRST,), backend="eager", schedule="gs")
    assert torch.equal(fast(FIRST), sampler(net)(FIRST))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", torch.ones(T + 1, T + 1, dtype=torch.bool).triu(1))

    def forward(self, words: Tensor) -> Tensor:
        hidden = self.get_buffer("hidden")
        return sampler(attends(lambda s: s.masked_fill(hidden[: s.shape[1], : s.shape[1]], -INF)))(words)


@torch.no_grad()
def test_a_mask_that_is_written_to_is_read_anew() -> None:
    model = Masked()
    words = torch.arange(V)[:, None]
    fast = fxsolve.compile(model, (words,), backend="eager", schedule="gs")
    before = fast(words)
    model.get_buffer("hidden").copy_(model.get_buffer("hidden").T.clone())  # what came before is hidden now
    expected = model(words)
    assert torch.equal(fast(words), expected)
    assert not torch.equal(before, expected)
