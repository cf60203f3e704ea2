"""What keeps blocks from being swept, and the runs of blocks that schedules are written for."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.spec import Block, System
from fxsolve.plan.legal_blocks import legal_blocks
from fxsolve.plan.schedule import GaussSeidel, JacobiBlocks
from fxsolve.plan.straight import blocks_of, everywhere, is_costly, reads_of_rows, straight_runs
from fxsolve.solvers.stop import Stop


class Chain(nn.Module):
    """Layers, and something behind the second of them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 4)
        self.between = between  # what the second layer gives and the third reads

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).tanh()
        return self.third(torch.cat([h, self.between(self.second(h).tanh())], 1))


def system_of(model: nn.Module, x: Tensor) -> System:
    with torch.no_grad():
        return fxsolve.partition(fxsolve.capture(model.eval(), x)).system


def legal(between: Callable[[Tensor], Tensor], stop: Stop | None) -> tuple[list[str], tuple[str, ...]]:
    system = system_of(Chain(between), torch.randn(2, 4))
    (method,) = everywhere(system, "jacobi")
    schedule, notes = legal_blocks(GaussSeidel((method,)), system, stop)  # pyright: ignore[reportArgumentType]
    assert isinstance(schedule, GaussSeidel)
    return [str(schedule)], notes


LOOSE = Stop(1e-4)


def test_blocks_of_smooth_functions_stay_as_they_are() -> None:
    (text,), notes = legal(torch.sin, LOOSE)
    assert text.startswith("gs(jacobi(")
    assert notes == ()


def test_integers_of_what_is_not_solved_yet_keep_blocks_in_order() -> None:
    (text,), notes = legal(lambda h: torch.ones(4)[h.long() % 4], LOOSE)
    assert "jacobi" not in text
    assert "makes integers of what is not solved yet" in notes[0]


def test_numbers_that_are_compared_are_solved_to_the_last_bit() -> None:
    (text,), notes = legal(lambda h: h * (h == h.amax(1, keepdim=True)), LOOSE)
    assert text.startswith("gs(jacobi(")
    assert "are solved to the last bit" in notes[0]
    assert legal(lambda h: h * (h == h.amax(1, keepdim=True)), None)[1] == ()  # so they are anyway


def test_a_run_is_of_blocks_of_which_two_are_costly() -> None:
    system = system_of(Chain(torch.sin), torch.randn(2, 4))
    (run,) = straight_runs(system)
    assert sum(map(is_costly, run)) >= 2
    assert straight_runs(system_of(nn.Tanh(), torch.randn(3))) == []


def test_rows_read_rows_before_them() -> None:
    system = system_of(Chain(torch.sin), torch.randn(2, 4))
    blocks = [one for one in system.equations if isinstance(one, Block)]
    reads = reads_of_rows([[block] for block in blocks])
    assert reads[0] == set()
    assert all(max(one, default=-1) < number for number, one in enumerate(reads))
    assert reads_of_rows([blocks]) == [set()]  # one row of all reads no other


@pytest.mark.parametrize("name", ["jacobi", "levels"])
def test_schedules_for_all_blocks_name_every_one_of_them_once(name: str) -> None:
    system = system_of(Chain(torch.sin), torch.randn(2, 4))
    named = [
        block
        for schedule in everywhere(system, name)
        for child in getattr(schedule, "children", (schedule,))
        for block in blocks_of(child)
    ]
    assert named == [one.name for one in system.equations]
    assert JacobiBlocks.name == "jacobi"
