"""Random networks in a sampler over a canvas: none that looks ahead is proved, and of those that do not nearly all are.

A network is a stack of layers (C, T) -> (C, T), written by hand or made from the table of op facts; the first one
shifts by one step. Whether a stack looks ahead is seen by changing its input from some time on.
"""

import math
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.plan.causality import judge
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.stages import capture, partition
from tests.plan.table_layers import C, Layer, T, table_layers

generator = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


MIX, QUERY, KEY, WIDE, BIAS, KERNEL = (
    random(C, C),
    random(C, C),
    random(C, C),
    random(2 * C, C),
    random(C),
    random(C, C, 2),
)
EACH, LATER, SCALE = random(C, 1, 2), torch.ones(T, T).triu(1).bool(), random(C, 1).abs() + 0.5
WEIGHTS = [random(3 * C, C) * 0.5, random(3 * C, C) * 0.5, random(3 * C), random(3 * C)]


def before(x: Tensor, steps: int = 1) -> Tensor:
    return F.pad(x, (steps, -steps))


def scores(x: Tensor) -> Tensor:
    return (QUERY @ x).mT @ (KEY @ x)


def heads(x: Tensor, is_causal: bool) -> Tensor:
    h = x.mT.reshape(1, T, 2, C // 2).transpose(1, 2)
    return F.scaled_dot_product_attention(h, h, h, is_causal=is_causal).transpose(1, 2).reshape(T, C).mT


def recurrent(x: Tensor) -> Tensor:
    return torch.gru(x.mT[:, None], torch.zeros(1, 1, C), WEIGHTS, True, 1, 0.0, False, False, False)[0][:, 0].mT


CAUSAL: dict[str, Layer] = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "square": lambda x: x * x,
    "clamp": lambda x: x.clamp(-1, 1) + 0.1 * x,
    "matrix": lambda x: MIX @ x,
    "linear": lambda x: F.linear(x.mT, MIX, BIAS).mT,
    "einsum": lambda x: torch.einsum("oc,ct->ot", MIX, x),
    "glu": lambda x: F.glu(WIDE @ x, 0),
    "chunks": lambda x: torch.cat([one.sigmoid() for one in x.chunk(2, 0)], 0) * x.flip(0),
    "residual": lambda x: x + torch.tanh(MIX @ x),
    "layer norm": lambda x: F.layer_norm(x.mT, (C,)).mT,
    "batch norm": lambda x: F.batch_norm(x[None], torch.zeros(C), torch.ones(C))[0],
    "softmax of channels": lambda x: x.softmax(0) + x,
    "convolution": lambda x: F.conv1d(F.pad(x, (1, 0))[None], KERNEL)[0],
    "dilated": lambda x: F.conv1d(F.pad(x, (2, 0))[None], KERNEL, dilation=2)[0],
    "depthwise": lambda x: F.conv1d(F.pad(x, (1, 0))[None], EACH, groups=C)[0],
    "masked convolution": lambda x: F.conv1d(x[None], torch.cat((KERNEL, KERNEL * 0), 2)[..., :3], padding=1)[0],
    "pyramid": lambda x: x + F.interpolate(F.avg_pool1d(before(x, 2)[None], 2), scale_factor=2)[0],
    "maximum pool": lambda x: F.max_pool1d(F.pad(x, (2, 0))[None], 3, stride=1)[0],
    "windows": lambda x: F.pad(x, (2, 0)).unfold(1, 3, 1).mean(-1),
    "transposed": lambda x: F.conv_transpose1d(x[None], KERNEL)[0, :, :T],
    "running sum": lambda x: x.cumsum(1) / torch.arange(1, T + 1),
    "running maximum": lambda x: x.cummax(1)[0] + x,
    "lower triangle": lambda x: x @ LATER.logical_not().float().mT * SCALE,
    "masked attention": lambda x: x @ scores(x).masked_fill(LATER, float("-inf")).softmax(-1).mT,
    "added mask": lambda x: x @ (scores(x) + LATER.float() * -1e9).softmax(-1).mT,
    "linear attention": lambda x: x @ (scores(x).exp() * (~LATER)).mT * 0.1,
    "heads": lambda x: heads(x, is_causal=True),
    "recurrent": recurrent,
    "shift": before,
    "roll": lambda x: x.roll(1, 1) * (torch.arange(T) > 0),
    "one before": lambda x: torch.cat((torch.zeros(C, 1), x[:, :-1]), 1),
    "rows": lambda x: torch.stack([torch.tanh(x[:, t]) * 2 for t in range(T)], 1),
    "best channels": lambda x: x.masked_fill(x < x.topk(2, 0)[0][-1:], 0.0),
    "sorted channels": lambda x: x.sort(0)[0],
    "picked channels": lambda x: x.gather(0, x.argsort(0)),
    "chosen": lambda x: torch.where(x > 0, x, MIX @ x),
}

LOOKS_AHEAD: dict[str, Layer] = {
    "wide convolution": lambda x: F.conv1d(F.pad(x, (0, 1))[None], KERNEL)[0],
    "all attention": lambda x: heads(x, is_causal=False),
    "weak mask": lambda x: x @ (scores(x) - 3 * LATER).softmax(-1).mT,
    "backwards": lambda x: recurrent(x.flip(1)).flip(1),
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "flip": lambda x: x.flip(1),
    "roll back": lambda x: x.roll(-1, 1),
    "upper triangle": lambda x: x @ LATER.float().mT,
    "norm over time": lambda x: F.layer_norm(x, (T,)),
    "coarse": lambda x: F.interpolate(F.avg_pool1d(x[None], 2), scale_factor=2)[0],
    "sorted times": lambda x: x.sort(1)[0],
    "one maximum": lambda x: x / (1 + x.abs().amax()),
}

ALL = CAUSAL | LOOKS_AHEAD


@cache
def layers() -> dict[str, Layer]:
    return ALL | table_layers()


@cache
def in_order() -> list[str]:
    """The layers that are not seen to look ahead; behind a shift, some read a zero that hides it."""
    return [name for name, layer in layers().items() if not changes_with(layer, 1)]


def stacked(names: list[str]) -> Layer:
    def net(x: Tensor) -> Tensor:
        x = before(x)
        for name in names:
            x = layers()[name](x)
        return x

    return net


def found(names: list[str]) -> bool:
    """Whether a sampler with this stack is proved to keep the order."""
    net = stacked(names)

    def sample(u: Tensor) -> Tensor:
        x = torch.zeros(C, T)
        for t in range(T):
            x[:, t] = torch.tanh(net(x)[:, t]) + u[:, t]
        return x

    with torch.no_grad():
        program = capture(sample, torch.zeros(C, T))
        system = partition(program).system
        known = known_values(system, constants_of(program))
        return "proved" in {judge(repeat, known).found for repeat in system.repeats}


def looks_ahead(names: list[str]) -> bool:
    """Whether the output at any time is seen to change with an input of then or later."""
    return changes_with(stacked(names), 0)


@torch.no_grad()
def changes_with(net: Layer, distance: int) -> bool:
    """Whether the output at any time t is seen to change with inputs from time t + `distance` on."""
    drawn = torch.randn(2, C, T, generator=torch.Generator().manual_seed(0))
    none, every = torch.zeros(C, T), torch.ones(C, T)
    # Some ops ask for what is zero.
    for x, other in (drawn, drawn.relu(), (none, every), (every, none)):
        for t in range(T):
            changed = torch.cat((x[:, : t + distance], other[:, t + distance :]), 1)
            if not torch.allclose(net(x)[:, : t + 1], net(changed)[:, : t + 1], rtol=1e-4, atol=1e-5):
                return True
    return False


def stacks(count: int, among: list[str], seed: int) -> list[list[str]]:
    order = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 5, (count,), generator=order).tolist()
    return [[among[k] for k in torch.randint(len(among), (size,), generator=order)] for size in sizes]


def assert_right(count: int) -> None:
    """Of `count` random stacks none is proved that looks ahead; of as many that do not, nearly all are."""
    wrong = [one for one in stacks(count, list(layers()), 0) if found(one) and looks_ahead(one)]
    assert not wrong
    missed = [one for one in stacks(count, in_order(), 1) if not found(one)]
    # Which stacks are drawn changes with every op that gets a row: two standard deviations of a draw of 5 % more.
    assert len(missed) <= 0.05 * count + 2 * math.sqrt(0.05 * count), missed


def test_layers_are_what_they_are_said_to_be() -> None:
    assert not [name for name in CAUSAL if looks_ahead([name])]
    assert not [name for name in LOOKS_AHEAD if not looks_ahead([name])]


def test_each_layer_alone_is_proved_where_it_keeps_the_order_and_there_only() -> None:
    assert [name for name in ALL if found([name])] == list(CAUSAL)


def test_the_table_makes_layers_of_most_of_its_ops() -> None:
    assert len({name.split()[0] for name in table_layers()}) >= 185


def test_of_random_stacks_none_is_proved_that_looks_ahead_and_nearly_all_others_are() -> None:
    assert_right(30)


@pytest.mark.slow
def test_of_ten_thousand_random_stacks_none_is_proved_that_looks_ahead_and_nearly_all_others_are() -> None:
    assert_right(5000)
