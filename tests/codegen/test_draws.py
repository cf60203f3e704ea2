"""Draws made where a module reads them equal draws made one by one."""

import torch

from fxsolve.capture.program import Draw
from fxsolve.codegen.draws import gather_noise, sample_noise
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
    stacked = sample_noise(noise, made)
    assert torch.equal(torch.get_rng_state(), after)
    for found, entry in zip(stacked, noise, strict=True):
        assert torch.equal(found, gather_noise(entry, one_by_one))
