"""Small draws of a recording are kept in few blocks; they are what was drawn, whatever is written into it later."""

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.capture.record.small_copies import SMALL, SmallCopies
from fxsolve.state.memory import storage_of

T = 50


def sampler(x: Tensor) -> Tensor:
    rows = []
    for _ in range(T):
        noise = torch.rand(3, 5)
        chosen = torch.randint(7, (3, 1))
        x = torch.tanh(x + noise.mul_(0.5)) + chosen
        rows.append(x)
    return torch.stack(rows)


def test_a_recording_keeps_its_small_draws_together_as_they_were_drawn() -> None:
    torch.manual_seed(0)
    captured = fxsolve.capture(sampler, torch.zeros(3, 5))
    noise = captured.example.noise
    assert len(noise) == 2 * T
    assert len({storage_of(one) for one in noise}) == 1
    torch.manual_seed(0)
    for k in range(T):
        assert torch.equal(noise[2 * k], torch.rand(3, 5))
        assert torch.equal(noise[2 * k + 1], torch.randint(7, (3, 1)))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(()),
        torch.rand(3, 4).t(),
        torch.rand(3, 1).expand(3, 1),
        torch.randint(9, (2, 3)),
        torch.rand(5) > 0.5,
        torch.randn(3, 2, dtype=torch.complex128),
        torch.rand(4, 8)[:, ::2],
    ],
    ids=str,
)
def test_a_copy_has_the_layout_and_the_values_and_memory_of_its_own(tensor: Tensor) -> None:
    copier = SmallCopies()
    copies = [copier.copy(tensor) for _ in range(3)]
    for one in copies:
        assert one is not None
        assert (one.dtype, one.shape, one.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
        assert torch.equal(one, tensor)
        assert one.data_ptr() % 64 == 0
        one.zero_()
    again = copier.copy(tensor)
    assert again is not None
    assert torch.equal(again, tensor)
    assert not any(one.any() for one in copies if one is not None)


def test_a_full_block_is_followed_by_another_and_large_and_empty_tensors_are_not_copied() -> None:
    copier = SmallCopies()
    copies = [copier.copy(torch.full((SMALL // 8,), float(k))) for k in range(100)]
    assert all(one is not None and bool((one == k).all()) for k, one in enumerate(copies))
    assert len({storage_of(one) for one in copies if one is not None}) > 1
    assert copier.copy(torch.empty(SMALL // 4 + 1)) is None
    assert copier.copy(torch.empty(0)) is None
    assert copier.copy(torch.empty(3, device="meta")) is None
