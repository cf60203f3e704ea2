"""Samplers: networks that read what they have drawn, chains of Monte Carlo, searches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.flows import Masked
from zoo_programs.member import Factory, Member

B, WORDS, WIDTH = 4, 32, 32


class MaskedConv(nn.Conv2d):
    """A convolution that sees what is above and to the left; "B" sees the middle as well."""

    mask: Tensor

    def __init__(self, kind: str, inner: int, outer: int, size: int) -> None:
        super().__init__(inner, outer, size, padding=size // 2)
        mask = torch.ones(size, size)
        mask[size // 2, size // 2 + (kind == "B") :] = 0
        mask[size // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [MaskedConv("A", 1, 12, 5)]
        for _ in range(3):
            layers += [nn.ReLU(), MaskedConv("B", 12, 12, 3)]
        self.net = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(12, 1, 1))

    def forward(self, noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(noise.shape[2]):
            for j in range(noise.shape[3]):
                logits = self.net(x)[:, 0, i, j]
                x[:, 0, i, j] = (noise[:, 0, i, j] < torch.sigmoid(logits)).float()
        return x


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 8, 1)
        self.gates = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**k) for k in range(5))
        self.rest = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(5))
        self.last = nn.Conv1d(8, 2, 1)

    def net(self, x: Tensor) -> Tensor:
        x, total = self.first(x), torch.zeros(())
        for k, (gate, rest) in enumerate(zip(self.gates, self.rest, strict=True)):
            a, b = gate(F.pad(x, (2**k, 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            x, total = x + rest(y), total + y
        return self.last(F.relu(total))

    def forward(self, noise: Tensor) -> Tensor:
        x = noise.new_zeros(noise.shape[0], 1, noise.shape[1] + 1)
        for t in range(noise.shape[1]):
            mean, log_scale = self.net(x[:, :, : t + 1])[:, :, -1].chunk(2, 1)
            x[:, 0, t + 1] = mean[:, 0] + torch.exp(0.1 * log_scale[:, 0]) * noise[:, t]
        return x[:, 0, 1:]


class Gpt(nn.Module):
    """Two layers that know only words and places so far; text grows by `cat`."""

    def __init__(self, length: int = 48) -> None:
        super().__init__()
        self.length = length
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(length, WIDTH)
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        layers = (nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH)) for _ in range(2))
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(WIDTH, WORDS)

    def logits(self, words: Tensor) -> Tensor:
        b, n = words.shape
        x = self.words(words) + self.places(torch.arange(n))
        for k in range(2):
            q, k_, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.qkv[k](self.norms[2 * k](x)).chunk(3, -1))
            y = F.scaled_dot_product_attention(q, k_, v, is_causal=True)
            x = x + self.out[k](y.transpose(1, 2).reshape(b, n, WIDTH))
            x = x + self.layers[k](self.norms[2 * k + 1](x))
        return self.head(x)

    def forward(self, words: Tensor) -> Tensor:
        while words.shape[1] < self.length:
            drawn = torch.multinomial(torch.softmax(self.logits(words)[:, -1] / 0.9, -1), 1)
            words = torch.cat([words, drawn], 1)
        return words


class CachedGpt(Gpt):
    """The same with caches of keys and values written by hand."""

    def forward(self, words: Tensor) -> Tensor:
        caches = [words.new_zeros(2, words.shape[0], 2, 0, WIDTH // 2, dtype=torch.float) for _ in range(2)]
        word, said = words[:, -1:], [words]
        for t in range(self.length - 1):
            x = self.words(word) + self.places.weight[t]
            for k in range(2):
                q, key, v = self.qkv[k](self.norms[2 * k](x)).view(len(x), 1, 3, 2, -1).unbind(2)
                both = torch.stack([key.transpose(1, 2), v.transpose(1, 2)])
                caches[k] = torch.cat([caches[k], both], 3)
                y = F.scaled_dot_product_attention(q.transpose(1, 2), caches[k][0], caches[k][1])
                x = x + self.out[k](y.transpose(1, 2).reshape(len(x), 1, WIDTH))
                x = x + self.layers[k](self.norms[2 * k + 1](x))
            word = self.head(x)[:, -1].argmax(-1, keepdim=True)
            said.append(word)
        return torch.cat(said, 1)


class Nade(nn.Module):
    """Binary entries, the hidden activation is updated after each."""

    def __init__(self, size: int = 96) -> None:
        super().__init__()
        self.W, self.V = nn.Parameter(torch.randn(size, 32) * 0.3), nn.Parameter(torch.randn(size, 32) * 0.3)
        self.b, self.c = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(32))

    def forward(self, batch: Tensor) -> Tensor:
        a, drawn = self.c.expand(len(batch), -1), []
        for i in range(len(self.W)):
            p = torch.sigmoid(torch.sigmoid(a) @ self.V[i] + self.b[i])
            x = torch.bernoulli(p)
            a = a + x[:, None] * self.W[i]
            drawn.append(x)
        return torch.stack(drawn, 1)


class BinaryMade(nn.Module):
    def __init__(self, size: int = 64, hidden: int = 128) -> None:
        super().__init__()
        inner, unit = torch.arange(size), torch.arange(hidden) % (size - 1)
        self.net = nn.Sequential(Masked(unit[:, None] >= inner), nn.ReLU(), Masked(inner[:, None] > unit))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(x.shape[1]):
            x[:, i] = torch.bernoulli(torch.sigmoid(self.net(x)[:, i]))
        return x.clone()


def gibbs(W: Tensor, b: Tensor, c: Tensor, v: Tensor) -> Tensor:
    """Block sampling of a restricted Boltzmann machine."""
    for _ in range(100):
        h = torch.bernoulli(torch.sigmoid(v @ W + c))
        v = torch.bernoulli(torch.sigmoid(h @ W.T + b))
    return v


def ising(spins: Tensor) -> Tensor:
    """Sweeps over a small torus, site by site."""
    n = spins.shape[-1]
    for _ in range(2):
        for i in range(n):
            for j in range(n):
                field = (
                    spins[:, (i + 1) % n, j] + spins[:, (i - 1) % n, j]
                    + spins[:, i, (j + 1) % n] + spins[:, i, (j - 1) % n]
                )  # fmt: skip
                up = torch.rand(len(spins)) < torch.sigmoid(0.8 * field)
                spins[:, i, j] = up.float() * 2 - 1
    return spins.clone()


def energy(x: Tensor) -> Tensor:
    return 0.5 * (x[:, :-1] ** 2).sum(1) + (x[:, 1:] - x[:, :-1] ** 2).square().sum(1)


def langevin(x: Tensor) -> Tensor:
    for _ in range(60):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        x = (x - 0.01 * gradient + 0.1 * torch.randn_like(x)).detach()
    return x


def metropolis(x: Tensor) -> Tensor:
    level, chain = energy(x), []
    for _ in range(150):
        proposal = x + 0.2 * torch.randn_like(x)
        new = energy(proposal)
        taken = torch.log(torch.rand(len(x))) < level - new
        x, level = torch.where(taken[:, None], proposal, x), torch.where(taken, new, level)
        chain.append(x)
    return torch.stack(chain)


class Beam(nn.Module):
    """Beam search with three beams over a small recurrent model."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell, self.head = nn.Embedding(WORDS, 16), nn.GRUCell(16, 32), nn.Linear(32, WORDS)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = h.repeat_interleave(3, 0)
        scores = torch.tensor([0.0, -1e9, -1e9]).repeat(len(h) // 3, 1)
        words = torch.zeros(len(h), 1, dtype=torch.long)
        for _ in range(24):
            h = self.cell(self.words(words[:, -1]), h)
            found = scores.view(-1, 1) + F.log_softmax(self.head(h), -1)
            scores, best = found.view(-1, 3 * WORDS).topk(3, -1)
            parent = (best // WORDS + 3 * torch.arange(len(best))[:, None]).view(-1)
            h, words = h[parent], torch.cat([words[parent], (best % WORDS).view(-1, 1)], 1)
        return words, scores


PROGRAMS: dict[str, Factory] = {
    "PixelCNN": lambda: Member(PixelCnn(), (torch.rand(B, 1, 10, 10),)),
    "WaveNet": lambda: Member(WaveNet(), (torch.randn(B, 96),)),
    "GPT": lambda: Member(Gpt(), (torch.zeros(B, 1, dtype=torch.long),)),
    "GPT with a cache": lambda: Member(CachedGpt(), (torch.zeros(B, 1, dtype=torch.long),)),
    "NADE": lambda: Member(Nade(), (torch.zeros(16, 1),)),
    "MADE, binary": lambda: Member(BinaryMade(), (torch.zeros(16, 64),)),
    "Gibbs sampling": lambda: Member(
        gibbs, (torch.randn(32, 16) * 0.2, torch.zeros(32), torch.zeros(16), torch.bernoulli(torch.full((8, 32), 0.5)))
    ),
    "Ising model": lambda: Member(ising, (torch.ones(8, 6, 6),)),
    "Langevin dynamics": lambda: Member(langevin, (torch.randn(16, 8),)),
    "Metropolis": lambda: Member(metropolis, (torch.randn(16, 8),)),
    "beam search": lambda: Member(Beam(), (torch.randn(4, 32),)),
}
