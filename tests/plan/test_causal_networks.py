"""Networks in samplers over a canvas: where masks keep the order of the draws that is proved, and otherwise never."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve

B, N, V, C, SIDE = 2, 8, 5, 4, 4

Sampler = tuple[Callable[..., Tensor], tuple[Tensor, ...]]


class Masked(nn.Module):
    """A convolution with a weight that is zero from its centre on, in raster order, or behind it if `own`."""

    mask: Tensor

    def __init__(self, inner: nn.Conv1d | nn.Conv2d, own: bool) -> None:
        super().__init__()
        self.inner = inner
        size = inner.weight[0, 0].numel()
        mask = torch.arange(size).view(inner.weight.shape[2:]) < size // 2 + own
        self.register_buffer("mask", mask.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner._conv_forward(x, self.inner.weight * self.mask, self.inner.bias)


def conv(channels: int, filters: int, own: bool = True, **options: int) -> Masked:
    return Masked(nn.Conv2d(channels, filters, 3, padding=1, **options), own)


def pixels(*layers: nn.Module) -> Sampler:
    net = nn.Sequential(conv(1, C, own=False), *layers)

    def sample(u: Tensor) -> Tensor:
        x = torch.zeros(B, 1, SIDE, SIDE)
        for i in range(SIDE):
            for j in range(SIDE):
                x[:, :, i, j] = torch.tanh(net(x)[:, :1, i, j] + u[:, :, i, j])
        return x

    return sample, (torch.randn(B, 1, SIDE, SIDE),)


def line(net: Callable[[Tensor], Tensor]) -> Sampler:
    def sample(u: Tensor) -> Tensor:
        x = torch.zeros(B, 1, N)
        for i in range(N):
            x[:, :, i] = torch.tanh(net(x)[:, :1, i] + u[:, :, i])
        return x

    return sample, (torch.randn(B, 1, N),)


def tokens(net: Callable[[Tensor], Tensor], order: list[int] | None = None) -> Sampler:
    def sample(u: Tensor) -> Tensor:
        x = torch.zeros(B, N, dtype=torch.long)
        for i in order or range(N):
            x[:, i] = (net(x)[:, i] + u[:, i]).argmax(-1)
        return x

    return sample, (torch.randn(B, N, V),)


torch.manual_seed(0)
words, head, query, key = nn.Embedding(V, C), nn.Linear(C, V), nn.Linear(C, C), nn.Linear(C, C)
gru, lstm = nn.GRU(C, C, batch_first=True), nn.LSTM(C, C, batch_first=True)
attention = nn.MultiheadAttention(C, 2, batch_first=True).eval()
layer = nn.TransformerEncoderLayer(C, 2, 8, dropout=0.0, batch_first=True).eval()
later = torch.ones(N, N).triu(1).bool()


def before(h: Tensor) -> Tensor:
    """Each row gets what was in the row above."""
    return F.pad(h, (0, 0, 1, -1))


def after(h: Tensor) -> Tensor:
    """Each place gets what was at the place before."""
    return head(F.pad(h, (0, 0, 1, 0))[:, :-1])


def dot(hidden: Tensor, low: float) -> Callable[[Tensor], Tensor]:
    def net(x: Tensor) -> Tensor:
        h = words(x)
        return after((query(h) @ key(h).mT).masked_fill(hidden, low).softmax(-1) @ h)

    return net


def scaled(x: Tensor) -> Tensor:
    h = words(x)[:, None]
    return after(F.scaled_dot_product_attention(h, h, h, is_causal=True)[:, 0])


def biased(x: Tensor) -> Tensor:
    h = words(x)
    slopes = -(torch.arange(N)[:, None] - torch.arange(N)).abs().float()
    scores = query(h) @ key(h).mT / 2 + slopes.masked_fill(later, float("-inf"))
    return after(F.softmax(scores, -1) @ h)


def turned(h: Tensor) -> Tensor:
    """Pairs of channels, turned by an angle that grows with the place, as complex numbers."""
    angles = torch.arange(N)[:, None] * torch.tensor([1.0, 0.1], dtype=h.dtype)
    pairs = torch.view_as_complex(h.reshape(B, N, -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(2)


def rotary(x: Tensor) -> Tensor:
    h = words(x)
    scores = (turned(query(h)) @ turned(key(h)).mT).masked_fill(later, float("-inf"))
    return after(scores.softmax(-1) @ h)


def nucleus(x: Tensor) -> Tensor:
    values, order = after(words(x)).sort(-1, descending=True)
    values = values.masked_fill(values.softmax(-1).cumsum(-1) > 0.9, -1e9)
    return values.gather(-1, order.argsort(-1))


CAUSAL: dict[str, Callable[[], Sampler]] = {
    "groups": lambda: pixels(nn.ReLU(), conv(C, C, groups=2), nn.GELU(), conv(C, C, groups=C)),
    "norms of channels": lambda: pixels(nn.BatchNorm2d(C).eval(), conv(C, C), nn.PReLU(C)),
    "dilated": lambda: pixels(Masked(nn.Conv2d(C, C, 3, padding=2, dilation=2), True)),
    "transposed": lambda: pixels(nn.ConvTranspose2d(C, C, 1), nn.GLU(1)),
    "line, padded": lambda: line(lambda x: F.conv1d(F.pad(x, (3, -1)), torch.ones(1, 1, 3))),
    "line, strides": lambda: line(
        lambda x: F.interpolate(F.avg_pool1d(F.pad(x, (2, -2)), 2, 2), scale_factor=2, mode="nearest")
    ),
    "line, windows": lambda: line(lambda x: F.pad(x, (3, -1)).unfold(2, 3, 1).amax(-1)),
    "line, running": lambda: line(lambda x: F.pad(x, (1, -1)).cumsum(2) / torch.arange(1, N + 1)),
    "attention, -inf": lambda: tokens(dot(later, float("-inf"))),
    "attention, -1e9": lambda: tokens(dot(later, -1e9)),
    "attention, fused": lambda: tokens(scaled),
    "attention, slopes": lambda: tokens(biased),
    "attention, rotary": lambda: tokens(rotary),
    "attention, module": lambda: tokens(
        lambda x: after(attention(words(x), words(x), words(x), attn_mask=later, need_weights=False)[0])
    ),
    "transformer layer": lambda: tokens(lambda x: after(layer(words(x), src_mask=later))),
    "one-hot": lambda: tokens(lambda x: F.pad(F.one_hot(x, V).float(), (0, 0, 1, 0))[:, :-1]),
    "nucleus": lambda: tokens(nucleus),
    "gru": lambda: tokens(lambda x: after(gru(words(x))[0])),
    "lstm": lambda: tokens(lambda x: after(lstm(words(x))[0])),
}

NOT_CAUSAL: dict[str, Callable[[], Sampler]] = {
    "own pixel": lambda: pixels(nn.Conv2d(C, C, 3, padding=1)),
    "transposed, wide": lambda: pixels(nn.ConvTranspose2d(C, C, 3, padding=1)),
    "own place": lambda: line(lambda x: F.conv1d(F.pad(x, (2, 0)), torch.ones(1, 1, 3)) * 0.3),
    "strides up too early": lambda: line(lambda x: F.interpolate(F.avg_pool1d(x, 2, 2), scale_factor=2) * 0.3),
    "attention to all": lambda: tokens(dot(torch.zeros(N, N, dtype=torch.bool), -1e9)),
    "a mask that is too weak": lambda: tokens(dot(later, -10.0)),
    "all hidden": lambda: tokens(dot(torch.ones(N, N, dtype=torch.bool), -1e9)),
    "the other order": lambda: tokens(dot(later, -1e9), order=list(range(N))[::-1]),
    "backwards": lambda: tokens(lambda x: after(gru(words(x).flip(1))[0].flip(1))),
}


def compiled(make: Callable[[], Sampler]):
    torch.manual_seed(0)
    program, args = make()
    with torch.no_grad():
        fast = fxsolve.compile(program, backend="eager", schedule="jacobi")
        for _ in range(2):
            torch.testing.assert_close(fast(*args), program(*args))
    (found,) = {loop.causal for loop in fast.report().loops if loop.causal}
    return found, str(fast.schedule)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_network_that_keeps_the_order_is_proved_and_swept(name: str) -> None:
    found, schedule = compiled(CAUSAL[name])
    assert found == "proved"
    assert "jacobi(loop0[" in schedule


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_a_network_that_looks_ahead_is_never_proved(name: str) -> None:
    found, schedule = compiled(NOT_CAUSAL[name])
    assert found.startswith("not shown")
    assert "jacobi(loop0[" not in schedule


def test_rows_that_are_added_to_or_written_twice_are_followed() -> None:
    places, twice = torch.tensor([0, 2]), torch.tensor([1, 1, 4])

    def program(u: Tensor) -> Tensor:
        x = torch.zeros(N, C)
        for t in range(N):
            h = before(x).index_add(1, places, before(x)[:, 1:3])
            h = h.index_put((twice,), h[1:2].expand(3, C))  # which of the first two becomes row 1?
            x[t] = torch.tanh(h[t] + u[t])
        return x

    found, schedule = compiled(lambda: (program, (torch.randn(N, C),)))
    assert found == "proved"
    assert "jacobi(loop0[" in schedule


def test_classes_out_of_range_are_the_programs_own_error() -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros(3, V)
        for t in range(6):
            h = torch.tanh(h) + F.one_hot(x[:, t], V)
        return h

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for _ in range(3):
        x = torch.randint(0, V, (3, 6))
        assert torch.equal(fast(x), program(x))
    assert len(fast.entries) == 1
    with pytest.raises(RuntimeError, match="must be smaller than num_classes"):
        fast(torch.full((3, 6), V))
    assert torch.equal(fast(x), program(x))
    assert fast.report().status == "emitted"
