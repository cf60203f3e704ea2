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
    (found,) = along(loop, ((torch.tensor(100.0, dtype=torch.float64),),), (stack, stack), (torch.tensor(0.5),))
    return found


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
