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
    assert "laid_out" not in check(states, torch.randn(STEPS, 3), schedule)


def expanded(x: Tensor) -> Tensor:
    h = torch.zeros(1, 3)
    for x_t in x:
        h = torch.tanh(h + x_t)
    return h.expand(5, 3)


def with_gaps(x: Tensor) -> Tensor:
    h = torch.zeros(2, 3)
    for x_t in x:
        h = torch.tanh(torch.cat([h, h * 0.5], 1) + x_t.repeat(2))[:, 1:4]
    return h


def sharing(x: Tensor) -> tuple[Tensor, Tensor]:
    y = last(x)
    return y, y.mT


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("program", [expanded, with_gaps])
def test_entries_share_memory_or_have_gaps_between_them_as_in_the_program(
    program: Callable[[Tensor], Tensor], schedule: str
) -> None:
    check(program, torch.randn(STEPS, 3), schedule)
    check(program, torch.randn(STEPS, 3).requires_grad_(), schedule)


def test_results_on_one_memory_stay_on_one() -> None:
    fast = fxsolve.compile(sharing, backend="eager", schedule="jacobi")
    for _ in range(CALLS):
        one, other = fast(IMAGES)
        one.zero_()
        assert not other.any()
