"""A module stands in for the program where it gives the recorded result, and where it is not slower."""

import gc
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Draw
from fxsolve.codegen.emit import Emitted
from fxsolve.economy import clock as timing
from fxsolve.economy.clock import timed
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.modes import runs_as_written
from fxsolve.runtime.trial import CallSeconds, race, run_example, run_original, time_emitted
from fxsolve.stages import emit, partition, schedule
from tests.runtime.building import differentiable, numbers, recorded, recurrence, wanted


def played(*seconds: float) -> tuple[Callable[[], float], list[float]]:
    """A function that takes these times in turn, and those that it has taken."""
    left: Iterator[float] = iter(seconds)
    taken: list[float] = []

    def run() -> float:
        taken.append(next(left))
        return taken[-1]

    return run, taken


def test_of_several_cheap_runs_the_shortest_count() -> None:
    original, slow = played(0.009, 0.008, 0.01, 0.02, 0.009)
    emitted, fast = played(0.04, 0.009, 0.008, 0.007, 0.006, 0.02)
    found = race(original, emitted, calls_decide=False)
    assert (found.original, found.emitted) == (0.008, 0.006)
    assert (len(slow), len(fast)) == (5, 6)


@pytest.mark.parametrize(("unit", "turns"), [(1e-4, 5), (0.01, 2), (1.0, 1)])
def test_what_is_clear_is_not_run_again_unless_that_costs_nothing(unit: float, turns: int) -> None:
    original, slow = played(*[3 * unit] * turns)
    emitted, fast = played(*[unit] * (turns + 1))
    found = race(original, emitted, calls_decide=False)
    assert (found.original, found.emitted) == (3 * unit, unit)
    assert (len(slow), len(fast)) == (turns, turns + 1)


def test_what_a_recording_left_behind_is_not_collected_in_the_time_of_a_form() -> None:
    def run() -> float:
        kept = [[one] for one in range(200_000)]
        return 1.0 + 0 * len(kept)

    gc.collect()
    collected = gc.get_stats()[2]["collections"]
    assert race(run, run, calls_decide=False) == CallSeconds(1.0, 1.0)
    assert gc.get_stats()[2]["collections"] == collected


@pytest.mark.parametrize(("calls_decide", "turns"), [(True, 2), (False, 5)])
def test_what_is_close_is_left_to_the_calls_to_come(calls_decide: bool, turns: int) -> None:
    original, slow = played(*[0.1] * turns)
    emitted, fast = played(*[0.1] * (turns + 1))
    race(original, emitted, calls_decide)
    assert (len(slow), len(fast)) == (turns, turns + 1)


def test_the_original_is_timed_whatever_was_expected_of_it() -> None:
    original, slow = played(0.6)
    emitted, _ = played(9.0, 9.0)
    found = race(original, emitted, calls_decide=False)
    assert (found.original, found.emitted, len(slow)) == (0.6, 9.0, 1)


def test_seconds_are_those_of_the_work_of_a_call() -> None:
    assert timed(lambda: sum(range(10**6)))[1] > 10 * timed(lambda: time.sleep(0.05))[1]


class Writes(nn.Module):
    """A running state, and an argument that is written into."""

    state: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", numbers(2))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(6):
            self.state.mul_(0.5).add_(x)
        x.zero_()
        return self.state.clone()


@torch.no_grad()
def test_a_trial_gives_the_recorded_run_and_leaves_everything_as_it_was() -> None:
    model, x = Writes(), numbers(2)
    program = recorded(model, x)
    state, argument = model.state.clone(), x.clone()
    parts = partition(program)
    emitted = emit(program, parts, schedule(program, parts, "gs", "eager"))
    outputs, seconds = run_example(emitted, program)
    for found, expected in zip(outputs, program.example.outputs, strict=True):
        assert same_bits(found, expected)
    assert seconds > 0
    assert time_emitted(emitted, program, Original(model, (x,), {})) > 0
    assert torch.equal(model.state, state)
    assert torch.equal(x, argument)


@torch.no_grad()
def test_the_original_is_timed_as_written_and_leaves_everything_as_it_was() -> None:
    model, x = Writes(), numbers(2)
    program = recorded(model, x)
    state, argument = model.state.clone(), x.clone()
    seen: list[bool] = []

    def watched(x: Tensor) -> Tensor:
        seen.append(runs_as_written())
        return model(x)

    assert run_original(Original(watched, (x,), {}), program, (x,)) > 0
    assert seen == [True]
    assert torch.equal(model.state, state)
    assert torch.equal(x, argument)


def test_draws_count_as_they_do_in_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(x: Tensor) -> Tensor:
        for row in torch.ones(6, 2):
            x = torch.tanh(x + row * torch.randn(2, dtype=torch.float64))
        return x

    with torch.no_grad():
        captured = recorded(program, numbers(2))
        parts = partition(captured)
        emitted = emit(captured, parts, schedule(captured, parts, "gs", "eager"))
    function, passes = differentiable(program, wanted(2))
    clock, work = [0.0], Emitted.fresh_noise

    def draw(self: Emitted, draws: tuple[Draw, ...]) -> list[Tensor]:
        clock[0] += 100.0
        return work(self, draws)

    monkeypatch.setattr(Emitted, "fresh_noise", draw)
    monkeypatch.setattr(timing, "seconds_now", lambda: clock[0])
    for one, recording in ((emitted, captured), (function, passes)):
        assert time_emitted(one, recording, Original(program, recording.example.inputs, {})) == 100.0


def test_a_trial_of_passes_gives_the_gradients_too() -> None:
    function, program = differentiable(recurrence, wanted(6, 2))
    outputs, _ = run_example(function, program)
    assert len(outputs) == len(program.example.outputs) == 2
    for found, expected in zip(outputs, program.example.outputs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_timing_passes_leaves_no_gradient() -> None:
    x = wanted(6, 2)
    function, program = differentiable(recurrence, x)
    original = Original(recurrence, (x,), {})
    assert time_emitted(function, program, original) > 0
    assert run_original(original, program, (x,)) > 0
    assert x.grad is None
