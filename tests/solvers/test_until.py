"""Steps that stop on a value: the program's own stop, and which numbers of steps are known."""

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import GuardError
from fxsolve.solvers.loop import LoopLag
from fxsolve.solvers.solution import observe
from fxsolve.solvers.trips import Trips, TripsError, trying
from fxsolve.solvers.until import UntilLoop, until


class Halve(nn.Module):
    def forward(self, x: Tensor, bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x / 2, x / 2 < bound, torch.isfinite(x)


class Add(nn.Module):
    def forward(self, x: Tensor, number: float) -> tuple[Tensor, Tensor]:
        return x + number, x + number > 100


def halving(trips: Trips) -> UntilLoop:
    return UntilLoop(Halve(), (LoopLag(0, 1),), (), (0,), "halve", "program.py:3", 1, True, ((2, True),), (), trips)


def run(loop: UntilLoop, start: float) -> float:
    x, bound = torch.tensor(start), torch.tensor(1.0)
    return float(until(loop, ((x,),), (), (bound,), x < bound)[0])


@pytest.mark.parametrize("steps", [0, 1, 5, 8])
def test_known_numbers_of_steps_run(steps: int) -> None:
    with observe() as seen:
        assert run(halving(Trips(0, 8)), 2.0**steps * 0.75) == 0.75
    assert [(one.method, one.sweeps, one.status) for one in seen] == [("until", steps, "stopped")]


@pytest.mark.parametrize("steps", [0, 1, 9, 30])
def test_others_are_refused_until_a_trial_has_succeeded(steps: int) -> None:
    loop = halving(Trips(2, 8))
    start = 2.0**steps * 0.75
    with pytest.raises(TripsError, match="than the 2 to 8 that are known"):
        run(loop, start)
    with trying() as trial:
        assert run(loop, start) == 0.75
    trial.succeed()
    assert run(loop, start) == 0.75
    assert (loop.trips.least, loop.trips.most) == (min(2, steps), max(8, steps))


def tried(loop: UntilLoop, steps: int) -> None:
    with trying() as trial:
        run(loop, 2.0**steps * 0.75)
    trial.succeed()


def test_numbers_between_are_tried_until_that_went_well_often_enough() -> None:
    loop = halving(Trips(3, 3))
    tried(loop, 30)
    for steps in range(10, 17):
        with pytest.raises(TripsError, match="takes other numbers of steps than the 3 to 30"):
            run(loop, 2.0**steps * 0.75)
        tried(loop, steps)
        tried(loop, steps)  # confirms nothing new
    assert run(loop, 2.0**20 * 0.75) == 0.75


def test_a_number_between_that_failed_is_not_tried_again() -> None:
    loop = halving(Trips(3, 3))
    for steps in range(22, 31):
        tried(loop, steps)
    with trying() as trial:
        run(loop, 2.0**21 * 0.75)
    trial.succeed()
    one = halving(Trips(3, 3))
    tried(one, 30)
    with trying() as trial:
        run(one, 2.0**10 * 0.75)
    trial.fail()
    with pytest.raises(TripsError) as told, trying():
        run(one, 2.0**10 * 0.75)
    assert not told.value.may_be
    assert one.trips.may_be_more
    assert one.trips.may_be_fewer


@pytest.mark.parametrize("steps", [1, 30])
def test_what_failed_once_is_not_tried_again(steps: int) -> None:
    loop = halving(Trips(2, 8))
    with trying() as trial:
        run(loop, 2.0**steps * 0.75)
    trial.fail()
    with trying(), pytest.raises(TripsError):
        run(loop, 2.0**steps * 0.75)
    assert run(loop, 24.0) == 0.75


def test_a_loop_that_does_not_stop_ends_all_the_same() -> None:
    loop = UntilLoop(Halve(), (LoopLag(0, 1),), (), (0,), "halve", "", 1, True, (), (), Trips(2, 8))
    with trying() as trial, pytest.raises(TripsError, match="takes more steps"):
        run(loop, float("inf"))
    trial.fail()
    assert not loop.trips.may_be_more


def test_a_check_that_fails_is_told_with_the_line_that_reads_it() -> None:
    with pytest.raises(GuardError, match="step 0 of halve reads another value") as told:
        run(halving(Trips(0, 8)), float("inf"))
    assert told.value.source == "program.py:3"


def test_numbers_of_steps_go_on_where_they_count_and_end_where_they_do_not() -> None:
    loop = UntilLoop(Add(), (LoopLag(0, 1),), (), (0,), "add", "", 1, True, (), ((7, -1),), Trips(0, 50))
    start = ((torch.tensor(0.0),),)
    assert until(loop, start, (range(4),), (), None) == (torch.tensor(105.0), 7 - 15)
    with pytest.raises(TripsError, match="more steps than the 3 whose numbers were recorded"):
        until(loop, start, ((0.5, 0.25, 0.125),), (), None)
