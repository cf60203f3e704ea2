"""Constants that every step of a sampler makes of the same numbers are one, and only where they are the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.ir.spec import Stacked
from fxsolve.rewrite.literals import join_literals, reads_buffers
from fxsolve.stages import capture, partition

WIDTH = 6
Slopes = Callable[[int], list[float]]


def canvas(slopes: Slopes) -> Callable[[Tensor], Tensor]:
    """Each entry is a weighted sum of those before it, with weights that fall off by slopes made in the step."""

    def run(noise: Tensor) -> Tensor:
        count = len(noise)
        x = torch.zeros(count)
        for t in range(count):
            places = torch.arange(count)
            away = (places[:, None] - places).float() * torch.tensor(slopes(t))[:, None, None]
            seen = torch.ones(count, count).tril(-1) * torch.exp(-away.abs())
            x[t] = torch.tanh((seen @ x).sum(0) + noise)[t]
        return x

    return run


def stacked(program: Callable[[Tensor], Tensor], noise: Tensor) -> list[Stacked]:
    """The reads of constants that lie in a row for all steps."""
    parts = partition(capture(program, noise))
    reads = (read for repeat in parts.system.repeats for read in repeat.reads)
    return [read for read in reads if isinstance(read, Stacked) and any("constant" in one for one in read.sources)]


@torch.no_grad()
def test_equal_ones_are_joined_and_others_are_not() -> None:
    noise = torch.randn(WIDTH)
    assert not stacked(canvas(lambda t: [0.5, 0.25]), noise)
    assert stacked(canvas(lambda t: [0.5, 0.25 + 0.1 * (t == 3)]), noise)
    assert stacked(canvas(lambda t: [0.5, 0.25] if t != 3 else [0.5, float("nan")]), noise)


@torch.no_grad()
def test_a_system_without_literals_is_left_as_it_is() -> None:
    program = capture(lambda x: torch.stack([x.cumsum(0)[:t].sum() for t in range(WIDTH)]), torch.randn(WIDTH))
    system = partition(program).system
    assert not reads_buffers(system)
    assert join_literals(system, program).system == system
    assert join_literals(system, program).rested == ()


@pytest.mark.parametrize("schedule", ["auto", "jacobi", "incremental"])
@torch.no_grad()
def test_what_is_equal_at_one_length_may_differ_at_another(schedule: str) -> None:
    program = canvas(lambda t: [0.5, 0.25 if t < WIDTH else 0.5])
    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    for length in (WIDTH, WIDTH - 1, WIDTH + 3, WIDTH, WIDTH + 5, WIDTH + 1):
        noise = torch.randn(length)
        torch.testing.assert_close(fast(noise), program(noise))
