"""The mark of what a program keeps changes with every write, also with those that no version counter sees."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.state.contents import contents_of
from fxsolve.state.reach import find_reach


class Model(nn.Module):
    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.lazy = nn.Linear(2, 2), nn.LazyLinear(2)
        self.register_buffer("running", torch.zeros(2))
        self.kept, self.inner, self.flags = torch.zeros(2), [torch.zeros(2)], torch.tensor([True, False])
        self.sparse = torch.eye(2).to_sparse()


def set_behind_autograd(model: Model) -> None:
    model.linear.weight.data.add_(1)


WRITES: dict[str, Callable[[Model], Any]] = {
    "a parameter": set_behind_autograd,
    "a buffer": lambda m: m.running.data.add_(1),
    "an attribute": lambda m: m.kept.data.add_(1),
    "a tensor in a list": lambda m: m.inner[0].data.add_(1),
    "a flag": lambda m: m.flags.data.fill_(True),
    "the last bit": lambda m: m.running.data[0].fill_(5e-324),
    "a sparse tensor": lambda m: m.sparse.mul_(2),
    "the sign of zero": lambda m: m.running.data[0].neg_(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_write_changes_the_mark(write: Callable[[Model], Any]) -> None:
    model = Model().double()
    before = contents_of(find_reach(model))
    assert contents_of(find_reach(model)) == before
    write(model)
    assert contents_of(find_reach(model)) != before


def test_reading_and_equal_values_do_not() -> None:
    model = Model()
    before = contents_of(find_reach(model))
    model.linear(torch.ones(2))
    model.kept.zero_()
    model.linear.weight.data = model.linear.weight.data.clone()
    assert contents_of(find_reach(model)) == before
