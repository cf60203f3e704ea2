"""Results lie in memory as the program's do, in whatever order that has their dimensions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve

CALLS, STEPS = 2, 8
CONV = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False).to(memory_format=torch.channels_last)
IMAGES = torch.rand(2, 4, 5, 5).to(memory_format=torch.channels_last)


def images(x: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    for _ in range(STEPS):
        x = x + 0.1 * torch.relu(CONV(x))
        found.append(x)
    return found


def stacked(x: Tensor) -> Tensor:
    return torch.stack(images(x), 1)


def joined(x: Tensor) -> Tensor:
    return torch.cat(images(x), 1)


def last(x: Tensor) -> Tensor:
    return images(x)[-1]


def states(x: Tensor) -> Tensor:
    h, found = torch.zeros(3), []
    for x_t in x:
        h = torch.tanh(h + x_t)
        found.append(h)
    return torch.stack(found).t()


def check(program: Callable[[Tensor], Tensor], x: Tensor, schedule: str) -> str:
    """Compare a few calls; the code that ran."""
    fast = fxsolve.compile(program, backend="eager", schedule=schedule)
    for _ in range(CALLS):
        ours, own = fast(x), program(x)
        torch.testing.assert_close(ours, own)
        assert ours.stride() == own.stride()
    assert fast.report().status == "emitted"
    return fast.code


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("program", [stacked, joined, last])
def test_images_whose_channels_lie_last_keep_that(program: Callable[[Tensor], Tensor], schedule: str) -> None:
    check(program, IMAGES, schedule)
    check(program, IMAGES.clone().requires_grad_(), schedule)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_nothing_is_laid_out_that_lies_as_it_should(schedule: str) -> None:
    assert "permute" not in check(states, torch.randn(STEPS, 3), schedule)
