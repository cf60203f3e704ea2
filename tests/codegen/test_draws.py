"""Draws made where a module reads them equal draws made one by one."""

import pytest
import torch

from fxsolve.capture.program import Draw
from fxsolve.codegen.draws import FreshNoise, gather_noise
from fxsolve.codegen.values import NoiseInput
from fxsolve.stages import capture


def draws() -> tuple[Draw, ...]:
    """Per step a Bernoulli and a normal draw, and one multinomial draw in between."""

    def program() -> torch.Tensor:
        x = torch.zeros(3, 4)
        for _ in range(5):
            x = torch.bernoulli(torch.sigmoid(x)) + torch.randn(3, 4)
        return x + torch.multinomial(torch.ones(3), 1)

    return capture(program).draws


def test_stacks_hold_the_draws_of_the_program_in_its_order() -> None:
    made = draws()
    noise = (
        NoiseInput(tuple(range(0, 10, 2)), True),
        NoiseInput(tuple(range(1, 10, 2)), True),
        NoiseInput((10,), False),
    )
    torch.manual_seed(5)
    one_by_one = [draw.sample() for draw in made]
    after = torch.get_rng_state()
    torch.manual_seed(5)
    stacked = FreshNoise(noise, made).sample()
    assert torch.equal(torch.get_rng_state(), after)
    for found, entry in zip(stacked, noise, strict=True):
        assert torch.equal(found, gather_noise(entry, one_by_one))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 3, 15, 16, 17, 40])
def test_rows_that_are_filled_are_the_draws_bit_for_bit(size: int, dtype: torch.dtype) -> None:
    """Kernels draw fewer than sixteen normal numbers in another way than more of them."""

    def program() -> torch.Tensor:
        x = torch.zeros(size, dtype=dtype)
        for _ in range(3):
            x = torch.rand(size, dtype=dtype) + x * torch.rand_like(x)
            x = torch.randn(size, dtype=dtype) + x * torch.randn_like(x)
        return x

    made = capture(program).draws
    noise = tuple(NoiseInput(tuple(range(first, 12, 4)), True) for first in range(4))
    fresh = FreshNoise(noise, made)
    assert len(fresh.stacks) == len(noise)
    torch.manual_seed(5)
    one_by_one = [draw.sample() for draw in made]
    after = torch.get_rng_state()
    torch.manual_seed(5)
    for found, entry in zip(fresh.sample(), noise, strict=True):
        assert torch.equal(found, gather_noise(entry, one_by_one))
    assert torch.equal(torch.get_rng_state(), after)
