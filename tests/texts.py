"""Samplers of growing texts as people write them, small: a step reads the whole text and appends to it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.samplers import Attention, Transformer

TOKENS, LENGTH, STEPS, EOS, PAD = 11, 16, 6, 1, 0
Sampler = tuple[Callable[..., Tensor], tuple[Tensor, ...]]
Change = Callable[[Tensor, Tensor], Tensor]


def gpt(layers: int = 1) -> nn.Module:
    net = Transformer(Attention, tokens=TOKENS, length=LENGTH, layers=layers).eval()
    nn.init.normal_(net.head.weight, std=2.0)
    return net


def prompt(batch: int = 2, length: int = 3) -> Tensor:
    return torch.randint(2, TOKENS, (batch, length))


def drawn(change: Change) -> Sampler:
    """Logits of the last word, changed by what the text holds; words are drawn."""
    net = gpt()

    def sample(text: Tensor) -> Tensor:
        for _ in range(STEPS):
            logits = change(net(text)[:, -1], text)
            word = torch.multinomial(logits.softmax(-1), 1)
            text = torch.cat([text, word], 1)
        return text

    return sample, (prompt(),)


def repetition(logits: Tensor, text: Tensor, penalty: float = 1.3) -> Tensor:
    score = logits.gather(1, text)
    score = torch.where(score < 0, score * penalty, score / penalty)
    return logits.scatter(1, text, score)


def repetition_in_place(logits: Tensor, text: Tensor) -> Tensor:
    score = torch.gather(logits, 1, text)
    logits.scatter_(1, text, torch.where(score < 0, score * 1.3, score / 1.3))
    return logits


def repetition_of_rows(logits: Tensor, text: Tensor) -> Tensor:
    """One sample at a time, as HuggingFace wrote it first."""
    for row in range(len(text)):
        seen = logits[row, text[row]]
        logits[row, text[row]] = torch.where(seen < 0, seen * 1.3, seen / 1.3)
    return logits


def presence(logits: Tensor, text: Tensor) -> Tensor:
    return logits - 0.5 * torch.zeros_like(logits).scatter(1, text, 1.0)


def presence_by_mask(logits: Tensor, text: Tensor) -> Tensor:
    """As nanoGPT forks write it."""
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, text, True)
    return torch.where(seen, torch.where(logits > 0, logits / 1.3, logits * 1.3), logits)


def frequency(logits: Tensor, text: Tensor) -> Tensor:
    counts = torch.zeros_like(logits).scatter_add_(1, text, torch.ones_like(text, dtype=logits.dtype))
    return logits - 0.3 * counts - 0.5 * (counts > 0)


def frequency_one_hot(logits: Tensor, text: Tensor) -> Tensor:
    return logits - 0.3 * F.one_hot(text, TOKENS).sum(1)


def frequency_bincount(logits: Tensor, text: Tensor) -> Tensor:
    counts = torch.stack([torch.bincount(row, minlength=TOKENS) for row in text])
    return logits - 0.3 * counts


def recent_only(logits: Tensor, text: Tensor) -> Tensor:
    """Of the last words alone."""
    return repetition(logits, text[:, -3:])


def no_last_word(logits: Tensor, text: Tensor) -> Tensor:
    return logits.scatter(1, text[:, -1:], -torch.inf)


def no_repeats(logits: Tensor, text: Tensor) -> Tensor:
    """Words that followed the last word before are not drawn again: no bigram comes twice."""
    again = text[:, :-1] == text[:, -1:]
    seen = torch.zeros_like(logits).scatter_add(1, text[:, 1:], again.to(logits.dtype))
    return logits.masked_fill(seen > 0, -1e9)


def top_k(logits: Tensor, text: Tensor) -> Tensor:
    least = torch.topk(logits / 0.8, 5)[0][:, [-1]]
    return torch.where(logits / 0.8 < least, -torch.inf, logits / 0.8)


def top_p(logits: Tensor, text: Tensor) -> Tensor:
    """As HuggingFace's gist, which everyone copies."""
    ordered, places = torch.sort(logits, descending=True)
    total = torch.cumsum(F.softmax(ordered, dim=-1), dim=-1)
    removed = total > 0.9
    removed[..., 1:] = removed[..., :-1].clone()
    removed[..., 0] = 0
    return logits.masked_fill(removed.scatter(1, places, removed), -float("inf"))


def min_p(logits: Tensor, text: Tensor) -> Tensor:
    shares = logits.softmax(-1)
    return logits.masked_fill(shares < 0.1 * shares.max(-1, keepdim=True).values, -float("inf"))


def ended(stop: bool = False) -> Sampler:
    """Texts that have ended are filled up."""
    net = gpt()

    def sample(text: Tensor) -> Tensor:
        finished = torch.zeros(len(text), dtype=torch.bool)
        for _ in range(STEPS):
            word = net(text)[:, -1].argmax(-1)
            word = torch.where(finished, PAD, word)
            text = torch.cat([text, word[:, None]], 1)
            finished |= word == EOS
            if stop and finished.all():
                break
        return text

    return sample, (prompt(),)


def unfinished() -> Sampler:
    """As HuggingFace writes it, with products of integers."""
    net = gpt()

    def sample(text: Tensor) -> Tensor:
        going = torch.ones(len(text), dtype=torch.long)
        for _ in range(STEPS):
            word = torch.multinomial(net(text)[:, -1].softmax(-1), 1)[:, 0]
            word = word * going + PAD * (1 - going)
            text = torch.cat([text, word[:, None]], -1)
            going = going.mul((word != EOS).long())
        return text

    return sample, (prompt(),)


def window(block: int = 5, steps: int = STEPS) -> Sampler:
    """As nanoGPT writes it, with a text that outgrows the network."""
    net = Transformer(Attention, tokens=TOKENS, length=block, layers=1).eval()

    def sample(text: Tensor) -> Tensor:
        for _ in range(steps):
            seen = text if text.size(1) <= block else text[:, -block:]
            word = torch.multinomial(net(seen)[:, -1, :].softmax(-1), num_samples=1)
            text = torch.cat((text, word), dim=1)
        return text

    return sample, (prompt(),)


class Cross(nn.Module):
    """A decoder of `nn.TransformerDecoder`."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(TOKENS, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerDecoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.decoder, self.head = nn.TransformerDecoder(layer, 2), nn.Linear(width, TOKENS)

    def forward(self, text: Tensor, memory: Tensor, hidden: Tensor | None = None) -> Tensor:
        n = text.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n)
        x = self.words(text) + self.places(torch.arange(n))
        return self.head(self.decoder(x, memory, tgt_mask=mask, memory_key_padding_mask=hidden))


def translated(padding: bool = False, length: int = 1) -> Sampler:
    net = Cross().eval()

    def sample(text: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        for _ in range(STEPS):
            logits = net(text, memory, hidden if padding else None)[:, -1]
            text = torch.cat([text, logits.argmax(-1, keepdim=True)], 1)
        return text

    hidden = torch.arange(5) >= torch.tensor([[4], [5]])
    return sample, (prompt(length=length), torch.randn(2, 5, 8), hidden)


def guided() -> Sampler:
    """Classifier-free guidance: two batches in one."""
    net = gpt()

    def sample(text: Tensor, bare: Tensor) -> Tensor:
        for _ in range(STEPS):
            with_, without = net(torch.cat([text, bare]))[:, -1].chunk(2)
            word = torch.multinomial((without + 1.5 * (with_ - without)).softmax(-1), 1)
            text, bare = torch.cat([text, word], 1), torch.cat([bare, word], 1)
        return text

    return sample, (prompt(), prompt())


def guided_twice() -> Sampler:
    """Two calls of the network in each step."""
    net = gpt()

    def sample(text: Tensor, bare: Tensor) -> Tensor:
        for _ in range(STEPS):
            with_, without = net(text)[:, -1], net(bare)[:, -1]
            word = (without + 1.5 * (with_ - without)).argmax(-1, keepdim=True)
            text, bare = torch.cat([text, word], 1), torch.cat([bare, word], 1)
        return text

    return sample, (prompt(), prompt(length=1))


class Padded(nn.Module):
    """Attention that does not see padding: a mask of keys, beside that of the triangle."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(TOKENS, width), nn.Embedding(LENGTH, width)
        self.qkv, self.head = nn.Linear(width, 3 * width), nn.Linear(width, TOKENS)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        b, n = text.shape
        x = self.words(text) + self.places(torch.arange(n))
        q, k, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        seen = torch.tril(torch.ones(n, n, dtype=torch.bool)) & (mask[:, None, None, :] != 0)
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).reshape(b, n, -1)
        return self.head(x)


class Added(Padded):
    """The same with large negative numbers, as HuggingFace wrote it."""

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        b, n = text.shape
        places = (mask.long().cumsum(-1) - 1).clamp(min=0)
        x = self.words(text) + self.places(places)
        q, k, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        least = torch.finfo(x.dtype).min
        causal = torch.full((n, n), least).triu(1)
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * least
        scores = q @ k.transpose(-1, -2) / 2 + torch.clamp(causal + hidden, min=least)
        x = x + (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1)
        return self.head(x)


class Unlike(Padded):
    """Words do not see those that are like them, but for themselves."""

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        b, n = text.shape
        places = torch.arange(n)
        x = self.words(text) + self.places(places)
        q, k, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        alike = (text[:, :, None] == text[:, None, :]) & (places != places[:, None]) & (mask[:, None] == 1)
        scores = (q @ k.transpose(-1, -2)).masked_fill(torch.ones(n, n).triu(1) == 1, -torch.inf)
        x = x + (scores.masked_fill(alike[:, None], -torch.inf).softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1)
        return self.head(x)


class Shared(nn.Module):
    """Four heads of a query share two of keys and values, as in Llama."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(TOKENS, width), nn.Embedding(LENGTH, width)
        self.q, self.kv, self.head = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, TOKENS)

    def forward(self, text: Tensor) -> Tensor:
        b, n = text.shape
        x = self.words(text) + self.places(torch.arange(n))
        for _ in range(2):
            q = self.q(x).view(b, n, 4, -1).transpose(1, 2)
            k, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.kv(x).chunk(2, -1))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + y.transpose(1, 2).reshape(b, n, -1)
        return self.head(x)


def shared() -> Sampler:
    net = Shared().eval()

    def sample(text: Tensor) -> Tensor:
        for _ in range(STEPS):
            text = torch.cat([text, torch.multinomial(net(text)[:, -1].softmax(-1), 1)], 1)
        return text

    return sample, (prompt(),)


class Counted(Padded):
    """Places are counted behind the padding, as HuggingFace does it; there are as many as are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(3 + STEPS, 8)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        b, n = text.shape
        places = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        x = self.words(text) + self.places(places)
        q, k, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        seen = torch.tril(torch.ones(n, n, dtype=torch.bool)) & mask[:, None, None, :].bool()
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).reshape(b, n, -1)
        return self.head(x)


class Hiding(Padded):
    """Two layers with the mask of the triangle and that of keys joined in one way or another."""

    def __init__(self, hide: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.hide = hide

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        b, n = text.shape
        x, causal = self.words(text) + self.places(torch.arange(n)), torch.ones(n, n, dtype=torch.bool).tril()
        for _ in range(2):
            q, k, v = (y.view(b, n, 2, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
            scores = self.hide(q @ k.transpose(-1, -2), causal, mask[:, None, None, :].bool())
            x = x + (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1)
        return self.head(x)


# Ways to hide scores (B, heads, n, n) by a triangle (n, n) and a mask of keys (B, 1, 1, n).
HIDES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "not both": lambda s, causal, keys: s.masked_fill(~(causal & keys), -torch.inf),
    "either not": lambda s, causal, keys: s.masked_fill(~causal | ~keys, -torch.inf),
    "both are 0": lambda s, causal, keys: s.masked_fill((keys & causal) == 0, -torch.inf),
    "one behind the other": lambda s, causal, keys: s.masked_fill(~causal, -torch.inf).masked_fill(~keys, -torch.inf),
    "like scores": lambda s, causal, keys: (s + torch.full_like(s, -torch.inf).triu(1)).masked_fill(~keys, -torch.inf),
    "a choice": lambda s, causal, keys: torch.where(causal.logical_and(keys), s, -torch.inf),
    "added": lambda s, causal, keys: s + torch.zeros_like(s[:, :1]).masked_fill(~(causal & keys), -torch.inf),
}


def hidden_by(hide: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Sampler:
    return padded(lambda: Hiding(hide), ones_alike, torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]]))


LEFT = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])


def padded(attention: Callable[[], Padded], grow: Change, mask: Tensor = LEFT) -> Sampler:
    """Prompts of several lengths, filled up on the left; the mask grows as the text does."""
    net = attention().eval()

    def sample(text: Tensor, mask: Tensor) -> Tensor:
        for _ in range(STEPS):
            word = net(text, mask)[:, -1].argmax(-1, keepdim=True)
            text, mask = torch.cat([text, word], 1), grow(mask, word)
        return text

    return sample, (prompt(length=4), mask)


def padded_from_text() -> Sampler:
    """The mask is made of the text."""
    net = Padded().eval()

    def sample(text: Tensor) -> Tensor:
        for _ in range(STEPS):
            word = net(text, text != PAD)[:, -1].argmax(-1, keepdim=True)
            text = torch.cat([text, word], 1)
        return text

    text = prompt(length=4)
    text[0, 0] = PAD
    return sample, (text,)


class Reader(nn.Module):
    """A recurrent network that reads the whole text anew."""

    def __init__(self, kind: type[nn.RNNBase], width: int = 8, layers: int = 1) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(TOKENS, width), kind(width, width, layers, batch_first=True)  # pyright: ignore[reportArgumentType]
        self.head = nn.Linear(width, TOKENS)

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.rnn(self.words(text))[0])


def read_again(kind: type[nn.RNNBase], layers: int = 1) -> Sampler:
    net = Reader(kind, layers=layers).eval()

    def sample(text: Tensor) -> Tensor:
        for _ in range(STEPS):
            word = torch.multinomial(net(text)[:, -1].softmax(-1), 1)
            text = torch.cat([text, word], 1)
        return text

    return sample, (prompt(),)


def beams(width: int = 3, gather: bool = False) -> Sampler:
    """Beam search for one text: the best continuations of all beams take the places of these."""
    net = gpt()

    def sample(text: Tensor) -> Tensor:
        text, total = text.expand(width, -1), torch.tensor([0.0] + [-1e9] * (width - 1))
        for _ in range(STEPS):
            scores = total[:, None] + net(text)[:, -1].log_softmax(-1)
            total, best = scores.flatten().topk(width)
            beam, word = best // TOKENS, best % TOKENS
            before = text.gather(0, beam[:, None].expand(-1, text.shape[1])) if gather else text[beam]
            text = torch.cat([before, word[:, None]], 1)
        return text[total.argmax()]

    return sample, (prompt(1),)


def beams_of_batch(width: int = 2) -> Sampler:
    """Beams of several texts, (B, K) in one dimension, as HuggingFace writes it."""
    net = gpt()

    def sample(text: Tensor) -> Tensor:
        b = len(text)
        text = text.repeat_interleave(width, 0)
        total = torch.zeros(b, width)
        total[:, 1:] = -1e9
        for _ in range(STEPS):
            scores = net(text)[:, -1].log_softmax(-1) + total.view(-1, 1)
            total, best = scores.view(b, -1).topk(width, dim=1)
            beam = (torch.arange(b)[:, None] * width + best // TOKENS).view(-1)
            text = torch.cat([text[beam], (best % TOKENS).view(-1, 1)], 1)
        return text

    return sample, (prompt(),)


def ones_alike(mask: Tensor, word: Tensor) -> Tensor:
    return torch.cat([mask, torch.ones_like(word)], 1)


def ones_behind(mask: Tensor, word: Tensor) -> Tensor:
    return torch.cat([mask, mask.new_ones((len(mask), 1))], 1)


def full_behind(mask: Tensor, word: Tensor) -> Tensor:
    return torch.cat((mask, torch.full((len(word), 1), 1)), dim=-1)


def added_behind(mask: Tensor, word: Tensor) -> Tensor:
    return torch.cat([mask, torch.ones_like(word)[:, -1:].to(mask.dtype)], dim=1)


def padded_behind(mask: Tensor, word: Tensor) -> Tensor:
    return F.pad(mask, (0, 1), value=1)


TEXTS: dict[str, Callable[[], Sampler]] = {
    "repetition": lambda: drawn(repetition),
    "repetition, in place": lambda: drawn(repetition_in_place),
    "repetition, rows": lambda: drawn(repetition_of_rows),
    "repetition, recent": lambda: drawn(recent_only),
    "presence": lambda: drawn(presence),
    "presence, mask": lambda: drawn(presence_by_mask),
    "frequency": lambda: drawn(frequency),
    "frequency, one-hot": lambda: drawn(frequency_one_hot),
    "frequency, bincount": lambda: drawn(frequency_bincount),
    "last word not again": lambda: drawn(no_last_word),
    "no bigram again": lambda: drawn(no_repeats),
    "top-k": lambda: drawn(top_k),
    "top-p": lambda: drawn(top_p),
    "min-p": lambda: drawn(min_p),
    "ended": ended,
    "ended, stopped": lambda: ended(True),
    "unfinished": unfinished,
    "window": lambda: window(8, 14),
    "window, not filled": lambda: window(12),
    "window, full at once": lambda: window(3),
    "cross-attention": translated,
    "cross-attention, padding": lambda: translated(True),
    "cross-attention, padding, longer prompt": lambda: translated(True, 4),
    "shared heads": shared,
    "guided": guided,
    "guided, two calls": guided_twice,
    "padding": lambda: padded(Padded, ones_alike),
    "padding, cat": lambda: padded(Padded, ones_behind),
    "padding, pad": lambda: padded(Padded, padded_behind),
    "padding, least": lambda: padded(Added, ones_behind),
    "padding, counted": lambda: padded(Counted, padded_behind),
    "padding, full": lambda: padded(Padded, full_behind),
    "padding, counted, added": lambda: padded(Counted, added_behind),
    "padding, unlike words": lambda: padded(Unlike, ones_behind),
    "padding, from text": padded_from_text,
    **{f"padding, {name}": partial(hidden_by, hide) for name, hide in HIDES.items()},
    "gru": lambda: read_again(nn.GRU),
    "lstm": lambda: read_again(nn.LSTM),
    "lstm, two layers": lambda: read_again(nn.LSTM, 2),
    "rnn": lambda: read_again(nn.RNN),
    "beams": beams,
    "beams, gather": lambda: beams(gather=True),
    "beams of a batch": beams_of_batch,
}
