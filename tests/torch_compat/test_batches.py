"""Batches by the level of vmap are those of torch.func, entry by entry."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fxsolve.torch_compat import batches

X, W = torch.rand(3, 3), torch.rand(3)


@pytest.fixture
def level() -> Iterator[int]:
    yield batches.enter_level()
    batches.leave_level()


@pytest.mark.parametrize("dim", [0, 1])
def test_what_is_done_with_a_batch_is_done_with_each_entry(level: int, dim: int) -> None:
    batch = batches.as_batch(X, dim, level)
    assert batches.is_batch(batch)
    assert batch.shape == (3,)
    found = batches.entries_of_batch(torch.dot(batch, W) * 2, level, 3, 0)
    torch.testing.assert_close(found, torch.stack([torch.dot(row, W) * 2 for row in X.unbind(dim)]))


def test_an_entry_that_is_the_same_for_all_is_expanded(level: int) -> None:
    assert not batches.is_batch(W)
    assert torch.equal(batches.entries_of_batch(W, level, 2, 0), W.expand(2, 3))


def test_levels_are_left_in_the_order_in_which_they_are_entered() -> None:
    first = batches.enter_level()
    assert batches.enter_level() == first + 1
    batches.leave_level()
    batches.leave_level()
    assert batches.enter_level() == first
    batches.leave_level()


def test_a_fake_tensor_has_a_form_and_no_memory() -> None:
    with batches.FakeTensorMode():
        found: Tensor = torch.empty(10**12).view(10**6, 10**6)[:, 0].exp()
    assert found.shape == (10**6,)
    assert found.device == torch.device("cpu")
