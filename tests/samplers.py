"""Samplers as people write them, small: one step reads the whole canvas and draws one entry of it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

B = 2
Sampler = tuple[Callable[..., Tensor], tuple[Tensor, ...]]


class Attention(nn.Module):
    """Heads written out, with the mask of a triangle."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.register_buffer("seen", torch.tril(torch.ones(length, length)).view(1, 1, length, length))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (y.view(b, n, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(c, dim=2))
        scores = (q @ k.transpose(-2, -1)) * k.shape[-1] ** -0.5
        scores = scores.masked_fill(self.seen[:, :, :n, :n] == 0, float("-inf"))
        return self.out((F.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(b, n, c))


class Fused(Attention):
    """The same by one call."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (y.view(b, n, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, n, c))


class Transformer(nn.Module):
    def __init__(
        self, attention: type[Attention], tokens: int = 7, width: int = 8, length: int = 10, layers: int = 2
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers))
        self.mixers = nn.ModuleList(attention(width, 2, length) for _ in range(layers))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(layers)
        )
        self.head = nn.Linear(width, tokens, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        for k in range(len(self.mixers)):
            x = x + self.mixers[k](self.norms[2 * k](x))
            x = x + self.layers[k](self.norms[2 * k + 1](x))
        return self.head(x)


def words(attention: type[Attention], length: int = 10) -> Sampler:
    net = Transformer(attention, length=length).eval()

    def sample(first: Tensor) -> Tensor:
        words = torch.zeros(B, length, dtype=torch.long)
        words[:, 0] = first
        for t in range(1, length):
            words[:, t] = torch.multinomial(net(words)[:, t - 1].softmax(-1), 1)[:, 0]
        return words

    return sample, (torch.tensor([1, 2]),)


class Wave(nn.Module):
    """Dilated convolutions with gates, a residual and a sum of all layers."""

    def __init__(self, width: int = 4, layers: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**k) for k in range(layers))
        self.rest = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.last = nn.Conv1d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.first(x), 0
        for gate, rest in zip(self.gates, self.rest, strict=True):
            a, b = gate(F.pad(x, (gate.dilation[0], 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            x, total = x + rest(y), total + y
        return self.last(F.relu(total))


def wave(length: int = 20) -> Sampler:
    net = Wave().eval()

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros(B, 1, length + 1)
        for t in range(length):
            mean, log_scale = net(x)[:, :, t].chunk(2, 1)
            x[:, :, t + 1] = mean + torch.exp(0.1 * log_scale) * noise[:, :, t]
        return x[:, :, 1:]

    return sample, (torch.randn(B, 1, length),)


def wave_grown(length: int = 10) -> Sampler:
    net = Wave().eval()

    def sample(x: Tensor) -> Tensor:
        for _ in range(length):
            x = torch.cat([x, torch.tanh(net(x)[:, :1, -1:])], 2)
        return x

    return sample, (torch.randn(B, 1, 1),)


class Down(nn.Module):
    """Shifted convolutions, over what is above or to the left, at two scales, with a skip between them."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.above = nn.Conv2d(1, width, (2, 3))
        self.left = nn.Conv2d(1, width, (1, 2))
        self.smaller = nn.Conv2d(width, width, (2, 3), stride=2)
        self.larger = nn.ConvTranspose2d(width, width, (2, 3), stride=2, output_padding=1)
        self.mix = nn.Conv2d(2 * width, width, (2, 2))
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        up = F.pad(self.above(F.pad(x, (1, 1, 1, 0))), (0, 0, 1, -1))
        left = F.pad(self.left(F.pad(x, (1, 0, 0, 0))), (1, -1))
        small = F.elu(self.smaller(F.pad(up, (1, 1, 1, 0))))
        back = self.larger(small)[:, :, :-1, 1:-1]
        both = torch.cat((back + up, left), 1)
        return self.last(F.elu(self.mix(F.pad(F.elu(both), (1, 0, 1, 0)))))


def pixels(side: int = 6) -> Sampler:
    net = Down().eval()

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros(B, 1, side, side)
        for i in range(side):
            for j in range(side):
                x[:, :, i, j] = torch.tanh(net(x)[:, :, i, j] + noise[:, :, i, j])
        return x

    return sample, (torch.randn(B, 1, side, side),)


def whole_draws(side: int = 4) -> Sampler:
    """Every step draws a whole canvas and keeps one pixel of it."""
    net = Down().eval()

    def sample() -> Tensor:
        x = torch.zeros(B, 1, side, side)
        for i in range(side):
            for j in range(side):
                drawn = torch.sigmoid(net(x)) > torch.rand(B, 1, side, side)
                x[:, :, i, j] = drawn[:, :, i, j].float()
        return x

    return sample, ()


class Masked(nn.Linear):
    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


def made(size: int = 12, hidden: int = 20) -> Sampler:
    """Two hidden layers with degrees drawn at random, in an order drawn at random."""
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(size, generator=draw)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(size)
    first, second = (torch.randint(0, size - 1, (hidden,), generator=draw) for _ in range(2))
    masks = (first[:, None] >= rank, second[:, None] >= first, rank[:, None] > second)
    net = nn.Sequential(Masked(masks[0]), nn.ReLU(), Masked(masks[1]), nn.ReLU(), Masked(masks[2])).eval()

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in order.tolist():
            x[:, i] = torch.tanh(net(x)[:, i] + noise[:, i])
        return x

    return sample, (torch.randn(B, size),)


def running(size: int = 8) -> Sampler:
    """Each entry sees the running sum of all before it."""
    weight = torch.rand(size) / size

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(1, size):
            x[:, i] = torch.tanh((x * weight).cumsum(1).sin()[:, i - 1] + noise[:, i])
        return x

    return sample, (torch.randn(B, size),)


Write = Callable[[Tensor, Tensor, int], Tensor]
# The ways to replace column i of x by y, (B, 1), without writing into x.
WRITES: dict[str, Write] = {
    "joined": lambda x, y, i: torch.cat([x[:, :i], y, x[:, i + 1 :]], 1),
    "where": lambda x, y, i: torch.where(torch.arange(x.shape[1]) == i, y, x),
    "index_copy": lambda x, y, i: x.index_copy(1, torch.tensor([i]), y),
    "scatter": lambda x, y, i: x.scatter(1, torch.full((B, 1), i), y),
    "index_put": lambda x, y, i: x.index_put((torch.arange(B), torch.tensor(i)), y[:, 0]),
    "clone": lambda x, y, i: x.clone().slice_scatter(y, 1, i, i + 1),
}


def small_made(size: int) -> nn.Module:
    places = torch.arange(size)
    return nn.Sequential(Masked(places[:, None] >= places), nn.Tanh(), Masked(places[:, None] > places)).eval()


def columns(write: Write, size: int = 6) -> Sampler:
    net = small_made(size)

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(size):
            x = write(x, net(x)[:, i : i + 1] + noise[:, i : i + 1], i)
        return x

    return sample, (torch.randn(B, size),)


def listed(size: int = 6) -> Sampler:
    """Columns are items of a list, which is joined at every step."""
    net = small_made(size)

    def sample(noise: Tensor) -> Tensor:
        items = list(torch.zeros_like(noise).split(1, 1))
        for i in range(size):
            items[i] = net(torch.cat(items, 1))[:, i : i + 1] + noise[:, i : i + 1]
        return torch.cat(items, 1)

    return sample, (torch.randn(B, size),)


def filled_up(size: int = 6) -> Sampler:
    """What was not drawn yet is filled up with zeros."""
    net = small_made(size)

    def sample(noise: Tensor) -> Tensor:
        items: list[Tensor] = []
        for i in range(size):
            drawn = net(torch.cat([*items, torch.zeros(B, size - i)], 1))[:, i : i + 1]
            items.append(drawn + noise[:, i : i + 1])
        return torch.cat(items, 1)

    return sample, (torch.randn(B, size),)


def padded(x: Tensor, y: Tensor) -> Tensor:
    x = F.pad(x, (0, 1))
    x[:, -1] = y
    return x


def zeros_written(x: Tensor, y: Tensor) -> Tensor:
    x = torch.cat([x, x.new_zeros(B, 1)], 1)
    x[:, -1:] = y[:, None]
    return x


def grown(grow: Callable[[Tensor, Tensor], Tensor], length: int = 6) -> Sampler:
    net = Transformer(Attention, length=length, layers=1).eval()

    def sample(first: Tensor) -> Tensor:
        words = first[:, None]
        for _ in range(1, length):
            words = grow(words, net(words)[:, -1].argmax(-1))
        return words

    return sample, (torch.tensor([1, 2]),)


def in_slices(length: int = 6) -> Sampler:
    """The network sees what was drawn of a canvas; of its last logits, in place, the largest are left."""
    net = Transformer(Attention, length=length, layers=1).eval()

    def sample(first: Tensor) -> Tensor:
        words = torch.full((B, length), -1)
        words[:, 0] = first
        for t in range(1, length):
            logits = net(words[:, :t])[:, -1]
            logits[logits < logits.topk(3)[0][:, -1:]] = -torch.inf
            words[:, t] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        return words

    return sample, (torch.tensor([1, 2]),)


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "words, mask written out": lambda: words(Attention, length=6),
    "words, fused attention": lambda: words(Fused),
    "wave": wave,
    "wave, grown": wave_grown,
    "pixels at two scales": pixels,
    "pixels, drawn as a whole": whole_draws,
    "made, random degrees": made,
    "running sum": running,
    **{f"columns, {name}": partial(columns, write) for name, write in WRITES.items()},
    "columns of a list": listed,
    "columns, filled up": filled_up,
    "words, padded": lambda: grown(padded),
    "words, zeros written": lambda: grown(zeros_written),
    "words in slices": in_slices,
}
