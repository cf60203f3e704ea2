"""Generators are put back to where they were, and those whose draws cannot be made again are refused."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fxsolve.errors import CaptureError
from fxsolve.state.generators import FreshGenerators, find_generators, restore_generators, rewinder_of
from fxsolve.state.reach import find_reach


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = torch.Generator().manual_seed(1)
        self.inner = nn.ModuleDict({"part": nn.Identity()})
        self.inner["part"].by_name = {"a": torch.Generator().manual_seed(2)}

    def forward(self, given: torch.Generator) -> list[float]:
        generators = [self.own, self.inner["part"].by_name["a"], given, None]
        drawn = [torch.rand((), generator=one).item() for one in generators]
        return [*drawn, random.random(), float(np.random.rand())]


def test_a_program_draws_the_same_again_once_its_generators_are_put_back() -> None:
    program, given = Noisy(), torch.Generator().manual_seed(3)
    rewind = rewinder_of(program, (given, torch.zeros(2)))
    first, second = program(given), program(given)
    rewind()
    assert program(given) == first
    assert not set(first) & set(second)
    rewind()
    assert program(given) == first


def test_the_generators_of_a_program_are_found_and_no_other() -> None:
    program, given, other = Noisy(), torch.Generator(), torch.Generator()
    closed: Callable[[], Any] = lambda: program.own  # noqa: E731
    for reached, arguments, count in (
        (program, ([given],), 2 + 1),
        (closed, (), 2),
        (nn.Identity(), (other, given), 2),
    ):
        known = find_generators(find_reach(reached, arguments), arguments)
        assert len(known) == count
    states = [one.get_state() for one in (given, other)]
    torch.rand(2, generator=given)
    torch.rand(2, generator=other)
    restore_generators(known.values())
    assert all(torch.equal(one.get_state(), state) for one, state in zip((given, other), states, strict=True))


def test_a_new_generator_that_is_still_held_may_have_been_there_before() -> None:
    fresh, held = FreshGenerators(), list[Any]([torch.Generator().manual_seed(7)])
    fresh.check()
    fresh.add(held[0], "model.py:3")
    fresh.add(held[0], "model.py:4")
    with pytest.raises(CaptureError, match=r"^model\.py:3: random numbers are drawn from a generator that outlives"):
        fresh.check()
    held.append(held)  # garbage from here on, which only the collector frees
    del held
    fresh.check()


@pytest.mark.parametrize(("seed", "is_refused"), [(None, False), (0, False), (2**32 - 1, False), (2**32, True)])
def test_a_seed_that_chance_may_have_chosen_is_refused(seed: int | None, is_refused: bool) -> None:
    fresh, generator = FreshGenerators(), torch.Generator()
    if seed is not None:
        generator.manual_seed(seed)
    if not is_refused:
        return fresh.add(generator, "here")
    with pytest.raises(
        CaptureError, match="here: a generator with a seed of more than 32 bits may be seeded by chance"
    ):
        fresh.add(generator, "here")
    return None
