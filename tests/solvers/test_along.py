"""Steps along the stacks of a loop that stopped on a value, from their ends."""

import pytest
import torch
from torch import Tensor, nn

from fxsolve.solvers.along import AlongLoop, along
from fxsolve.solvers.loop import LoopLag
from fxsolve.solvers.solution import observe


class Weighted(nn.Module):
    def forward(self, total: Tensor, x: Tensor, before: Tensor, rate: Tensor) -> tuple[Tensor]:
        return (rate * total + x - before,)


def run(entries: int, spare: int) -> Tensor:
    """Entry n - 1 - t and the one before it, for all but the `spare` first ones."""
    loop = AlongLoop(Weighted(), (LoopLag(0, 1),), (0,), "back", spare, (0, 1))
    stack = torch.arange(entries).double() ** 2
    start = torch.tensor(100.0, dtype=torch.float64)
    (found,) = along(loop, ((start,),), stack, (stack, stack), (torch.tensor(0.5),))
    return found


class Numbered(nn.Module):
    def forward(self, total: Tensor, number: float) -> tuple[Tensor]:
        return (total * 10 + number,)


@pytest.mark.parametrize(("entries", "digits"), [(2, 1), (4, 123), (6, 12345)])
def test_numbers_are_those_of_the_steps_that_it_runs_along(entries: int, digits: int) -> None:
    """Recorded along four steps: 3, 2, 1, of all but the first one, number 0; a range goes on where there are more."""
    numbers = range(3, 0, -1) if entries > 4 else (3, 2, 1)
    loop = AlongLoop(Numbered(), (LoopLag(0, 1),), (0,), "back", 1, (4,))
    (found,) = along(loop, ((torch.zeros(()),),), torch.zeros(entries), (numbers,), ())
    assert int(found) == int(str(digits)[::-1])


def test_numbers_that_follow_no_rule_do_not_go_on() -> None:
    loop = AlongLoop(Numbered(), (LoopLag(0, 1),), (0,), "back", 0, (2,))
    with pytest.raises(ValueError, match="1 more steps than the 2 whose numbers were recorded"):
        along(loop, ((torch.zeros(()),),), torch.zeros(3), ((0.5, 0.25),), ())


@pytest.mark.parametrize("entries", [1, 2, 3, 8])
def test_there_are_as_many_steps_as_entries_but_for_the_spare_ones(entries: int) -> None:
    wanted = 100.0
    for t in range(entries - 1):
        wanted = 0.5 * wanted + (entries - 1 - t) ** 2 - (entries - 2 - t) ** 2
    assert run(entries, 1).item() == wanted


def test_where_no_step_runs_the_values_are_the_first_ones() -> None:
    with observe() as seen:
        assert run(1, 1).item() == 100.0
    assert [(one.method, one.sweeps) for one in seen] == [("along", 0)]
