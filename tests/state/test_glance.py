"""A snapshot is current as long as everything in it is what it was, by identity."""

from collections.abc import Callable
from operator import getitem
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fxsolve.state.glance import Pairs, StateKey
from fxsolve.state.live import LiveSet
from fxsolve.state.watch import Watch


def snapshot_of(program: Any) -> StateKey:
    return Watch(program, LiveSet())._look()[0]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.flag, self.sizes = True, [1, 2]


CHANGES: dict[str, Callable[[Model], Any]] = {
    "a value": lambda m: setattr(m, "flag", False),
    "one more": lambda m: setattr(m, "more", 1),
    "one less": lambda m: delattr(m, "flag"),
    "a container in place": lambda m: m.sizes.append(3),
    "a form": lambda m: setattr(m.linear.bias, "data", torch.zeros(5)),
    "a first hook": lambda m: m.linear.register_forward_hook(lambda *_: None),
    "a type": lambda m: setattr(m.linear, "__class__", nn.Identity),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_ends_a_snapshot_and_not_that_of_another_model(change: Callable[[Model], Any]) -> None:
    model, other = Model(), Model()
    changed, untouched = snapshot_of(model), snapshot_of(other)
    assert changed.look() is not None
    change(model)
    assert changed.look() is None
    assert untouched.look() is not None


def test_values_of_tensors_do_not_end_it() -> None:
    model = Model()
    snapshot = snapshot_of(model)
    model.linear.weight.data.fill_(7)
    assert snapshot.look() is not None


def test_what_is_put_back_makes_it_current_again() -> None:
    model = Model()
    snapshot, weight = snapshot_of(model), model.linear.weight
    model.linear.weight = nn.Parameter(weight.detach().clone())
    assert snapshot.look() is None
    model.linear.weight = weight
    assert snapshot.look() is not None


def test_an_equal_object_is_not_the_same_one() -> None:
    held = SimpleNamespace(key=[1])
    pairs = Pairs(getattr, (held,), ("key",), [held.key])
    assert pairs.is_current()
    held.key = [1]
    assert not pairs.is_current()


def test_pairs_are_read_in_their_own_way() -> None:
    owner: dict[str, Any] = {"a": object(), "b": None}
    pairs = Pairs(getitem, (owner, owner), ("a", "b"), [owner["a"], None])
    assert pairs.is_current()
    owner["b"] = 0
    assert not pairs.is_current()


def test_which_tensors_want_gradients_is_told_anew() -> None:
    model = Model()
    snapshot = snapshot_of(model)
    assert snapshot.look() == (True, True)
    model.linear.bias.requires_grad_(False)
    assert sorted(snapshot.look()) == [False, True]
    assert snapshot.look() is not None


def test_two_snapshots_differ_in_plain_values_where_the_objects_are_the_same() -> None:
    model = Model()
    first = snapshot_of(model)
    model.flag = False
    assert first.differs_in_plain_values(snapshot_of(model))
    model.linear.weight = nn.Parameter(torch.zeros(2, 2))
    assert not first.differs_in_plain_values(snapshot_of(model))
