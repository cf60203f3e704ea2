"""Steps computed before it is known whether there are any: the program's own stop, whatever comes behind it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import GuardError
from fxsolve.solvers.ahead import AheadChunk, until_ahead
from fxsolve.solvers.loop import LoopLag
from fxsolve.solvers.requests import certificates
from fxsolve.solvers.solution import observe
from fxsolve.solvers.trips import Trips, TripsError, trying
from fxsolve.solvers.until import UntilLoop, until

AHEAD = 4


class Halve(nn.Module):
    """(x, x two steps before) -> x / 2, their sum, whether x / 2 is below the bound, whether it is finite."""

    def forward(self, x: Tensor, bound: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        return x / 2, x + before, x / 2 < bound, torch.isfinite(x)


class Step(nn.Module):
    def forward(self, before: Tensor, x: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        return Halve()(x, bound, before)


class Several(nn.Module):
    """The steps that a chunk is compiled from; `fails` where one of them sees too small a number."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.fails = fails

    def forward(self, oldest: Tensor, newest: Tensor, same: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        past, found, reads = [oldest, newest], [], []
        for _ in range(AHEAD):
            new, total, stops, finite = Step()(past[0], past[1], bound)
            if self.fails and new < bound / 4:
                raise RuntimeError("a step that the program does not come to")
            past = [past[1], new]
            found += [new, total]
            reads += [stops.reshape(1), finite.reshape(1)]
        return (*found, torch.cat(reads))


class Plain(AheadChunk):
    """A chunk that is not compiled."""

    calls = 0

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        def run(*given: Tensor) -> Any:
            self.calls += 1
            return self.module(*given)

        return run


def loop(trips: Trips) -> UntilLoop:
    """Reads the value two steps before, and the last one, for which there are two lags of one output."""
    lags = (LoopLag(0, 2), LoopLag(0, 1))
    return UntilLoop(Step(), lags, (1,), (0,), "halve", "program.py:3", 2, True, ((3, True),), ((5, 2),), trips)


def given(start: float) -> tuple[Any, ...]:
    x, bound = torch.tensor(start), torch.tensor(1.0)
    return ((torch.tensor(0.25), x), (x,)), (), (bound,), x < bound


@pytest.mark.parametrize("steps", range(11))
def test_the_same_as_one_by_one_for_every_number_of_steps(steps: int) -> None:
    arguments = given(2.0**steps * 0.75)
    chunk = Plain(Several(), (0, 1), frozenset())
    if steps == 0:
        wanted = (None, torch.tensor(0.75), 5)
        whole = loop(Trips(0, 12))
        whole.stacked = ()
        found = (None, *until_ahead(whole, chunk, *arguments))
    else:
        wanted, found = until(loop(Trips(0, 12)), *arguments), until_ahead(loop(Trips(0, 12)), chunk, *arguments)
        assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert found[2] == wanted[2] == 5 + 2 * steps
    assert chunk.calls == -(-steps // AHEAD)


def test_what_a_step_behind_the_stop_reads_is_nobodys() -> None:
    """The numbers overflow there, which the check would tell."""
    whole = loop(Trips(0, 12))
    arguments = given(3e38)
    whole.stops = False  # stops at once, at the first one that is not below the bound
    found = until_ahead(whole, Plain(Several(), (0, 1), frozenset()), *arguments[:3], torch.tensor(True))
    assert found[1] == 1.5e38


def test_a_check_fails_at_the_step_that_fails_it() -> None:
    with pytest.raises(GuardError, match="step 0 of halve reads another value"):
        until_ahead(loop(Trips(0, 8)), Plain(Several(), (0, 1), frozenset()), *given(float("inf")))


@pytest.mark.parametrize("steps", [3, 6, 9])
def test_where_a_chunk_fails_the_programs_own_steps_run(steps: int) -> None:
    """A step that it does not come to may raise an error."""
    arguments = given(2.0**steps * 0.75)
    found = until_ahead(loop(Trips(0, 12)), Plain(Several(fails=True), (0, 1), frozenset()), *arguments)
    wanted = until(loop(Trips(0, 12)), *arguments)
    assert all(map(torch.equal, found[:2], wanted[:2]))


@pytest.mark.parametrize("steps", [1, 9, 30])
def test_numbers_of_steps_that_are_not_known_are_refused_until_tried(steps: int) -> None:
    whole, chunk, arguments = loop(Trips(2, 8)), Plain(Several(), (0, 1), frozenset()), given(2.0**steps * 0.75)
    with pytest.raises(TripsError, match="than the 2 to 8 that are known"):
        until_ahead(whole, chunk, *arguments)
    with trying() as trial:
        assert until_ahead(whole, chunk, *arguments)[1] == 0.75
    trial.succeed()
    assert until_ahead(whole, chunk, *arguments)[1] == 0.75
    assert (whole.trips.least, whole.trips.most) == (min(2, steps), max(8, steps))


def test_it_is_told_which_steps_ran() -> None:
    with observe() as seen:
        until_ahead(loop(Trips(0, 12)), Plain(Several(), (0, 1), frozenset()), *given(2.0**6))
    assert [(one.method, one.sweeps, one.status) for one in seen] == [("until_ahead", 7, "stopped")]


class Rounding(Several):
    """Its last bits are other ones."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *found, reads = super().forward(*inputs)
        return (*(one * (1 + 2**-23) for one in found), reads)


def test_a_certificate_asks_the_programs_own_steps() -> None:
    for module, is_exact in ((Several(), True), (Rounding(), False)):
        with certificates() as proved:
            until_ahead(loop(Trips(0, 12)), Plain(module, (0, 1), frozenset()), *given(2.0**6))
        (certificate,) = proved
        assert certificate.bitwise == is_exact
        assert (certificate.residual == 0) == is_exact
        assert certificate.basis == ("in order" if is_exact else "none")
