"""Places that a program sets before it reads them are told from those that it reads, by one more run of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.runtime.gradients import Original
from fxsolve.runtime.set_first import find_made
from fxsolve.stages import capture
from tests.runtime.building import numbers, recurrence


class Keeps(nn.Module):
    """Stores its result in `latest`; `action` says what it does with what was there."""

    def __init__(self, action: str = "") -> None:
        super().__init__()
        self.action = action
        self.latest: Any = numbers(2)

    def forward(self, x: Tensor) -> Tensor:
        h = recurrence(x)[-1]
        if self.action == "add":
            h = h + self.latest
        if self.action == "look" and self.latest is None:
            h = h * 2
        self.latest = h + 1
        if self.action == "raise":
            raise_once()
        return h * self.latest


RAISED: list[int] = []


def raise_once() -> None:
    RAISED.append(1)
    if len(RAISED) > 1:
        raise ValueError("a second run")


def made_by(model: Keeps) -> list[str]:
    x = numbers(6, 2)
    RAISED.clear()
    with torch.no_grad():
        program = capture(model, x)
        return [place.key for place in find_made(Original(model, (x,), {}), program, ())]


def test_what_is_set_and_then_read_is_made() -> None:
    assert made_by(Keeps()) == ["latest"]


@pytest.mark.parametrize("action", ["add", "look"])
def test_what_is_read_first_is_not(action: str) -> None:
    assert made_by(Keeps(action)) == []


def test_a_program_that_cannot_run_again_tells_nothing() -> None:
    assert made_by(Keeps("raise")) == []


def test_the_run_leaves_what_was_there() -> None:
    model, x = Keeps(), numbers(6, 2)
    with torch.no_grad():
        program = capture(model, x)
        held = model.latest
        find_made(Original(model, (x,), {}), program, ())
    assert model.latest is held


def test_a_program_that_stores_nothing_is_not_run() -> None:
    runs: list[int] = []

    def program(x: Tensor) -> Tensor:
        return recurrence(x)

    def counted(x: Tensor) -> Tensor:
        runs.append(1)
        return program(x)

    with torch.no_grad():
        recorded = capture(program, numbers(6, 2))
        assert find_made(Original(counted, (numbers(6, 2),), {}), recorded, ()) == ()
    assert runs == []
