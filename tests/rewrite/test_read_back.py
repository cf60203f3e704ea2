"""Entries that are written to be read again, or written anew, are read where they were made; others stay."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fxsolve.rewrite.recorded.read_back import read_back
from fxsolve.stages import capture

aten = torch.ops.aten


def written_twice(x: Tensor) -> Tensor:
    """As a penalty for each of two samples changes their logits, one by one."""
    last = torch.tanh(x)[:, -1]
    last[0] = last[0] * 2
    last[1] = last[1] * 3 + last[0]
    return last.sin()


def scattered(x: Tensor) -> Tensor:
    last = torch.tanh(x)[:, -1]
    last.scatter_(1, torch.tensor([[0], [1]]), 0.5)
    return last.sin()


def also_read_whole(x: Tensor) -> Tensor:
    y = torch.tanh(x)
    y[:, -1].mul_(2)
    return y[:, -1].sin() + y.sum()


def written_elsewhere(x: Tensor) -> Tensor:
    y = torch.tanh(x)
    y[:, -1].mul_(2)
    y[:, 0].mul_(2)
    return y[:, -1].sin()


def filled(x: Tensor) -> Tensor:
    """The last write to a row stays, and so do all others."""
    y = torch.zeros_like(x)
    for k in range(4):
        y[0, -1, k] = x[0, -1, k].sin()
    return y


PROGRAMS: dict[Callable[[Tensor], Tensor], int] = {
    written_twice: 0,
    scattered: 0,
    also_read_whole: 1,
    written_elsewhere: 2,
}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
@torch.no_grad()
def test_values_are_the_same_and_writes_along_the_middle_are_gone(program: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 3, 4)
    recorded = capture(program, x)
    graph = read_back(recorded.module.graph)
    writes = graph.find_nodes(op="call_function", target=aten.select_scatter.default)
    assert sum(len(node.meta["spec"].shape) == 3 for node in writes) == PROGRAMS[program]
    (found,) = torch.fx.GraphModule(recorded.module, graph)(x)
    assert torch.equal(found, program(x))
