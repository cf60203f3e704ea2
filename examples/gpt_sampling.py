"""Sample text from a small GPT (Radford et al. 2019), character by character, as written and through fxsolve.

It is trained on the texts of Python's help() for at most two minutes; the weights are kept in out/weights.
"""

import argparse
from collections.abc import Callable, Sequence
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comparing import compare
from training import fit, kept

BLOCK, WIDTH, LAYERS, HEADS = 128, 128, 4, 4
TEXT = "\n".join(topics[name] for name in sorted(topics))
CHARACTERS = sorted(set(TEXT))


class Attention(nn.Module):
    """Every position attends to itself and to those before: (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (one.view(B, T, self.heads, -1).transpose(1, 2) for one in self.qkv(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class Layer(nn.Module):
    """x + attention(norm(x)), and y + mlp(norm(y)) of that."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first_norm(x))
        return x + self.mlp(self.second_norm(x))


class GPT(nn.Module):
    """Logits of the next token after each of T tokens, for T up to `block`: (B, T) -> (B, T, V)."""

    def __init__(
        self, vocabulary: int, block: int = BLOCK, width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS
    ) -> None:
        super().__init__()
        self.block = block
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, idx: Tensor) -> Tensor:
        positions = torch.arange(idx.shape[1], device=idx.device)
        return self.head(self.norm(self.layers(self.tokens(idx) + self.positions(positions))))


def trained(seconds: float = 120.0, device: str = "cpu") -> GPT:
    """A GPT fitted to the text, from out/weights where it has been before."""
    torch.manual_seed(0)
    model = GPT(len(CHARACTERS)).to(device)
    number = {character: index for index, character in enumerate(CHARACTERS)}
    text = torch.tensor([number[character] for character in TEXT], device=device)

    def loss(rows: Tensor) -> Tensor:
        return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    def train() -> float:
        windows = text.unfold(0, BLOCK + 1, 1)
        return fit(model, loss, windows, steps=10**6, seconds=seconds, title="GPT", batch=12)

    kept(model, train, f"gpt_{seconds:g}s")
    return model.eval()


def sampler(model: GPT, steps: int, temperature: float = 0.9, top_k: int = 20) -> Callable[[Tensor], Tensor]:
    """A function that goes on with a text for a number of tokens: (B, T) -> (B, T + steps)."""

    def generate(idx: Tensor) -> Tensor:
        with torch.no_grad():
            for _ in range(steps):
                logits = model(idx[:, -model.block :])[:, -1] / temperature
                best, _ = torch.topk(logits, top_k)
                logits[logits < best[:, [-1]]] = -float("inf")
                idx = torch.cat((idx, torch.multinomial(F.softmax(logits, dim=-1), 1)), dim=1)
        return idx

    return generate


def prompt(samples: int, device: str = "cpu") -> Tensor:
    """A line break, from which every text begins: (B, 1)."""
    return torch.full((samples, 1), CHARACTERS.index("\n"), device=device)


def factory(seconds: float = 10.0) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor]]:
    """For the command line: fxsolve report examples/gpt_sampling.py:factory."""
    return sampler(trained(seconds), BLOCK - 1), (prompt(1),)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-seconds", type=float, default=120.0)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=BLOCK - 1)
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    generate = sampler(trained(options.train_seconds), options.tokens)
    texts = compare(f"GPT, {options.tokens} tokens", generate, (prompt(options.samples),))
    print("".join(CHARACTERS[index] for index in texts[0].tolist()))


if __name__ == "__main__":
    main()
