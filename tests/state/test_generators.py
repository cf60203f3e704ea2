"""A generator that outlives the call is drawn on from; one that the program makes and seeds starts anew each time."""

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.capture import capture
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError

X = torch.zeros(3)


def seeded_inside(x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return x + torch.randn(3, generator=generator) * torch.bernoulli(torch.full((3,), 0.5), generator=generator)


def test_draws_of_a_generator_made_inside_are_constants() -> None:
    program = capture(seeded_inside, (X,), {})
    verify_program(program)
    assert program.draws == ()
    assert torch.equal(program.module(X + 1)[0], seeded_inside(X + 1))


def test_a_constant_draw_may_be_written_into() -> None:
    def program(x: Tensor) -> Tensor:
        noise = torch.randn(3, generator=torch.Generator().manual_seed(7))
        noise[0] = x[0]
        return noise

    captured = capture(program, (X,), {})
    assert torch.equal(captured.module(X + 5)[0], program(X + 5))


@pytest.mark.parametrize("place", ["argument", "attribute", "closure"])
def test_a_generator_that_outlives_the_call_is_continued(place: str) -> None:
    generator = torch.Generator().manual_seed(3)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = generator

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(3, generator=self.generator)

    def given(x: Tensor, own: torch.Generator) -> Tensor:
        return x + torch.rand(3, generator=own)

    program, args = {
        "argument": (given, (X, generator)),
        "attribute": (Model(), (X,)),
        "closure": (lambda x: x + torch.rand(3, generator=generator), (X,)),
    }[place]
    captured = capture(program, args, {})
    state = generator.get_state()
    (draw,) = captured.draws
    found = captured.module(X, draw.sample())[0]
    generator.set_state(state)
    assert torch.equal(found, program(*args))


def test_seeding_a_generator_that_outlives_the_call_is_refused() -> None:
    generator = torch.Generator().manual_seed(3)

    def program(x: Tensor) -> Tensor:
        generator.manual_seed(11)
        return x + torch.rand(3, generator=generator)

    with pytest.raises(CaptureError, match="did not see being drawn"):
        capture(program, (X,), {})


class Hidden:
    """An object that fxsolve does not look into."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)


HELD = [[Hidden()]]


def test_a_generator_out_of_sight_that_outlives_the_call_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"test_generators\.py:\d+: .* from a generator that outlives the call"):
        capture(lambda x: x + torch.rand(3, generator=HELD[0][0].generator), (X,), {})


def test_a_generator_seeded_by_chance_is_refused() -> None:
    def program(x: Tensor) -> Tensor:
        generator = torch.Generator()
        generator.manual_seed(2**40 + 1)
        return x + torch.rand(3, generator=generator)

    with pytest.raises(CaptureError, match="a generator with a seed of more than 32 bits may be seeded by chance"):
        capture(program, (X,), {})
