"""A proof that fails names the call by which a step comes to read too much, and its line."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fxsolve

C, T = 3, 8
MIX = torch.randn(C, C)
KERNEL = torch.randn(C, C, 3)
WEIGHTS = [torch.randn(3 * C, C), torch.randn(3 * C, C), torch.randn(3 * C), torch.randn(3 * C)]

Net = Callable[[Tensor], Tensor]


def before(x: Tensor) -> Tensor:
    return F.pad(x, (1, -1))


def attention(x: Tensor) -> Tensor:
    scores = x.mT @ MIX @ x
    return x @ scores.softmax(-1).mT


def convolution(x: Tensor) -> Tensor:
    y = MIX @ x
    y = y + F.conv1d(y[None], KERNEL, padding=1)[0]
    return F.conv1d(F.pad(y, (2, 0))[None], KERNEL)[0]


def average(x: Tensor) -> Tensor:
    y = torch.tanh(MIX @ x)
    return y - y.mean(1, keepdim=True)


def own_entry(x: Tensor) -> Tensor:
    return MIX @ x


def no_rule(x: Tensor) -> Tensor:
    y = torch.tanh(MIX @ x)
    return torch.linalg.cross(y, y.flip(0), dim=0)


def backwards(x: Tensor) -> Tensor:
    h, rows = torch.zeros(C), []
    for column in x.unbind(1)[::-1]:
        h = torch.tanh(MIX @ h + column)
        rows.append(h)
    return torch.stack(rows[::-1], 1)


def reason(net: Net, shift: Net) -> str:
    """What the report says of a sampler with this network."""

    def sample(u: Tensor) -> Tensor:
        x = torch.zeros(C, T)
        for t in range(T):
            x[:, t] = torch.tanh(net(shift(x))[:, t]) + u[:, t]
        return x

    with torch.no_grad():
        fast = fxsolve.compile(sample, (torch.randn(C, T),), schedule="jacobi", backend="eager")
    (found,) = {loop.causal for loop in fast.report().loops if loop.causal}
    return found


def line_of(net: Net, text: str) -> str:
    lines, first = inspect.getsourcelines(net)
    (number,) = [first + k for k, line in enumerate(lines) if text in line]
    return f"{__file__}:{number}"


@pytest.mark.parametrize(
    ("net", "shift", "call", "line"),
    [
        (attention, before, "mm", "softmax"),
        (convolution, before, "convolution", "padding=1"),
        (average, before, "mean", "mean"),
        (own_entry, lambda x: x, "mm", "MIX @ x"),
        (no_rule, lambda x: x, "linalg_cross", "cross"),
        (backwards, before, "mv", "h + column"),
    ],
    ids=lambda one: one.__name__ if callable(one) else None,
)
def test_the_call_and_its_line_are_named(net: Net, shift: Net, call: str, line: str) -> None:
    told = reason(net, shift)
    assert told.startswith("not shown: step ")
    rule = ", an op without a rule about which entries it reads" if net is no_rule else ""
    assert told.endswith(f", through {call} at {line_of(net, line)}{rule}")
