"""Where a race on one call is close, the user's own calls decide, by each form in turn."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.runtime import calls, compilation, judging, stopwatch, turns
from fxsolve.runtime.contest import BAND, FEWEST, LONGEST, MOST, TURN, Contest, is_close
from fxsolve.runtime.gradients import Differentiable, Original
from fxsolve.runtime.ready import Ready
from fxsolve.runtime.trial import CallSeconds


def contest(original: float, emitted: float, turns: int) -> Contest:
    return Contest([original] * turns, [emitted] * turns)


def test_forms_take_turns_and_the_emitted_one_begins() -> None:
    found, order = Contest(), []
    for _ in range(3 * TURN):
        order.append(found.is_originals_turn())
        (found.original if order[-1] else found.emitted).append(1.0)
    assert order == [False] * TURN + [True] * TURN + [False] * TURN


def test_the_first_call_of_each_turn_does_not_count() -> None:
    found = contest(1.0, 0.8, FEWEST)
    found.emitted[0] = found.emitted[TURN] = 100.0
    assert found.medians() == (1.0, 0.8)


@pytest.mark.parametrize("ratio", [0.5, 0.85, 1.2, 3.0])
def test_a_clear_ratio_is_decided_after_a_few_turns(ratio: float) -> None:
    assert not contest(1.0, ratio, FEWEST - TURN).is_decided
    assert contest(1.0, ratio, FEWEST).is_decided
    assert contest(1.0, ratio, FEWEST).is_emitted_faster == (ratio < 1)


@pytest.mark.parametrize("ratio", [0.95, 1.0, 1.05])
def test_what_is_not_clear_takes_all_turns(ratio: float) -> None:
    assert not contest(1.0, ratio, MOST - TURN).is_decided
    assert contest(1.0, ratio, MOST).is_decided
    assert contest(1.0, ratio, MOST).is_emitted_faster == (ratio < 1)


def test_a_call_that_was_disturbed_does_not_decide() -> None:
    found = contest(1.0, 0.8, FEWEST)
    found.emitted[2] = 100.0
    assert found.is_emitted_faster


@pytest.mark.parametrize(("ratio", "close"), [(0.5, False), (1.0, True), (1.2, True), (1.5, False)])
def test_only_a_close_race_is_left_to_the_calls(ratio: float, close: bool) -> None:
    assert 1 / BAND < 0.9 < 1.2 < BAND < 1.5
    assert is_close(1.0, ratio) == close


def decayed(x: Tensor) -> Tensor:
    y = x[0]
    for row in x:
        y = 0.9 * y + torch.tanh(row)
    return y


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How long each form takes, by the clock that decides, and what lets time pass; every race on one call is close."""
    took: dict[str, Any] = {
        "original": 1.0,
        "emitted": 1.0,
        "pass": lambda seconds: now.__setitem__(0, now[0] + seconds),
    }
    now, before, ready = [0.0], Original.run, Ready.run

    def original_run(self: Original) -> Any:
        now[0] += took["original"]
        return before(self)

    def ready_run(self: Ready, *given: Any) -> Any:
        now[0] += took["emitted"]
        return ready(self, *given)

    monkeypatch.setattr(Original, "run", original_run)
    monkeypatch.setattr(Ready, "run", ready_run)
    for module in (calls, turns, stopwatch):
        monkeypatch.setattr(module, "seconds_now", lambda: now[0])
    monkeypatch.setattr(judging, "is_close", lambda *_: True)
    return took


@pytest.mark.parametrize(
    ("emitted", "status"), [(0.5, "emitted"), (0.97, "emitted"), (1.05, "left alone"), (2.0, "left alone")]
)
@torch.no_grad()
def test_the_faster_form_stays(clock: dict[str, float], emitted: float, status: str) -> None:
    clock["emitted"] = emitted
    fast = fxsolve.compile(decayed, backend="eager")
    for _ in range(2 * MOST + 2):
        x = torch.randn(60, 3)
        torch.testing.assert_close(fast(x), decayed(x))
    report = fast.report()
    assert report.status == status
    assert (report.original_seconds, report.emitted_seconds) == pytest.approx((1.0, emitted))
    assert any(note.startswith("calls showed which form is faster") for note in report.notes)
    assert ("sequential is best here" in report.reason) == (status == "left alone")


@torch.no_grad()
def test_an_error_of_the_program_in_its_turn_is_its_own(clock: dict[str, float]) -> None:
    broken = [False]

    def program(x: Tensor) -> Tensor:
        if broken[0]:
            raise ValueError("no more")
        return decayed(x)

    fast, x = fxsolve.compile(program, backend="eager"), torch.randn(60, 3)
    for _ in range(1 + TURN):
        fast(x)
    broken[0] = True
    with pytest.raises(ValueError, match="no more"):
        fast(x)
    broken[0] = False
    torch.testing.assert_close(fast(x), program(x))


def test_random_numbers_are_the_programs_in_every_turn(clock: dict[str, float]) -> None:
    def program(x: Tensor) -> Tensor:
        return decayed(x + torch.randn(60, 3))

    fast, x, results = fxsolve.compile(program, backend="eager"), torch.randn(60, 3), []
    for one in (fast, program):
        torch.manual_seed(5)
        with torch.no_grad():
            results.append([one(x) for _ in range(2 * FEWEST)])
    torch.testing.assert_close(*results)


@pytest.fixture
def passes(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How long a backward pass takes behind each form."""
    took, original, emitted = {"original": 1.0, "emitted": 1.0}, Original.run, Differentiable.differentiate

    def run(self: Original) -> Any:
        result = original(self)
        result.grad_fn.register_hook(lambda *_: clock["pass"](took["original"]))
        return result

    def differentiate(self: Differentiable, *given: Any) -> Any:
        clock["pass"](took["emitted"])
        return emitted(self, *given)

    monkeypatch.setattr(Original, "run", run)
    monkeypatch.setattr(Differentiable, "differentiate", differentiate)
    return took


def train(fast: Any, steps: int) -> None:
    """Steps in which others come between the forward and the backward pass."""
    for _ in range(steps):
        x = torch.randn(60, 3, requires_grad=True)
        fast(x.exp()).square().sum().backward()
        (expected,) = torch.autograd.grad(decayed(x.exp()).square().sum(), x)
        torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize(
    ("forward", "backward", "status"),
    [(1.2, 0.5, "emitted"), (0.9, 1.2, "left alone"), (0.5, 1.4, "emitted"), (0.9, 1.05, "emitted")],
)
def test_a_backward_pass_counts_as_part_of_its_call(
    clock: dict[str, Any], passes: dict[str, float], forward: float, backward: float, status: str
) -> None:
    clock["emitted"], passes["emitted"] = forward, backward
    fast = fxsolve.compile(decayed, backend="eager")
    train(fast, 2 * MOST + 2)
    report = fast.report()
    assert report.status == status
    assert (report.original_seconds, report.emitted_seconds) == pytest.approx((2.0, forward + backward))


def test_only_the_first_backward_pass_of_a_call_counts(clock: dict[str, Any], passes: dict[str, float]) -> None:
    fast, x = fxsolve.compile(decayed, backend="eager"), torch.randn(60, 3, requires_grad=True)
    for _ in range(2):
        total = fast(x).sum()
        for _ in range(3):
            total.backward(retain_graph=True)
    assert fast._runtime.latest.contest.emitted == [2.0]


def test_calls_without_their_backward_passes_end_in_the_emitted_form(clock: dict[str, Any]) -> None:
    clock["emitted"] = 2.0
    fast, x = fxsolve.compile(decayed, backend="eager"), torch.randn(60, 3, requires_grad=True)
    for _ in range(LONGEST + 2):
        fast(x)
    assert fast._runtime.latest.contest is None
    assert fast.report().status == "emitted"


def test_an_input_that_is_returned_as_it_came_has_a_pass_of_others(clock: dict[str, Any]) -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        return decayed(x.detach()), x

    fast, x = fxsolve.compile(program, backend="eager"), torch.randn(60, 3, requires_grad=True).exp()
    for _ in range(3):
        assert fast(x)[1] is x
    assert fast._runtime.latest.contest.emitted == [1.0, 1.0]


@torch.no_grad()
def test_what_has_become_slower_is_noticed(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms take turns once more after many calls, unless one was far ahead."""
    monkeypatch.setattr(turns, "AGAIN", 50)
    for before, status in ((0.6, "left alone"), (0.1, "emitted")):
        clock["emitted"] = before
        fast, x = fxsolve.compile(decayed, backend="eager"), torch.randn(60, 3)
        for _ in range(40):
            fast(x)
        assert fast.report().status == "emitted"
        clock["emitted"] = 1.5
        for _ in range(40):
            torch.testing.assert_close(fast(x), decayed(x))
        assert fast.report().status == status


@pytest.mark.parametrize("verify", ["always", 2])
@torch.no_grad()
def test_a_call_that_is_verified_does_not_count(clock: dict[str, float], verify: Any) -> None:
    """It takes as long as both forms."""
    clock["emitted"] = 0.5
    fast, x = fxsolve.compile(decayed, backend="eager", verify=verify), torch.randn(60, 3)
    for _ in range(4 * MOST):
        fast(x)
    assert fast.report().status == "emitted", fast.report().reason


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of the original, from now on."""
    taken, before = [], Original.run
    monkeypatch.setattr(Original, "run", lambda self: taken.append(1) or before(self))
    return taken


@pytest.mark.parametrize(("raced", "emitted", "turns"), [(5.0, 0.1, 0), (5.0, 3.0, FEWEST), (1.9, 1.05, MOST)])
@torch.no_grad()
def test_a_race_that_was_clear_is_looked_at_again_by_calls(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch, raced: float, emitted: float, turns: int
) -> None:
    """One turn of the emitted form suffices where it is as far ahead as was measured."""
    monkeypatch.setattr(judging, "is_close", lambda *_: False)
    monkeypatch.setattr(compilation, "time_both", lambda *_: CallSeconds(raced, 1.0))
    fast, x, clock["emitted"] = fxsolve.compile(decayed, backend="eager"), torch.randn(60, 3), emitted
    fast(x)
    taken = counted(monkeypatch)
    for _ in range(2 * turns + TURN + 1):
        torch.testing.assert_close(fast(x), decayed(x))
    assert fast.report().status == ("left alone" if turns else "emitted"), fast.report().reason
    assert len(taken) >= turns
    assert bool(taken) == bool(turns)


def guarded(x: Tensor) -> Tensor:
    """Reads a value."""
    return decayed(x) if x[0, 0] < 2 else decayed(-x)


@pytest.mark.parametrize(("raced", "status"), [(1.2, "emitted"), (0.9, "left alone")])
@torch.no_grad()
def test_calls_decide_where_values_are_read_and_the_race_was_won(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch, raced: float, status: str
) -> None:
    monkeypatch.setattr(compilation, "time_both", lambda *_: CallSeconds(raced, 1.0))
    clock["emitted"] = 1.2
    fast, x = fxsolve.compile(guarded, backend="eager"), torch.zeros(60, 3)
    fast(x)
    assert fast.report().status == status
    for _ in range(2 * MOST + 1):
        torch.testing.assert_close(fast(x), guarded(x))
    assert fast.report().status == "left alone"


@torch.no_grad()
def test_calls_that_read_different_values_are_not_compared(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "time_both", lambda *_: CallSeconds(1.2, 1.0))
    clock["emitted"] = 1.2
    fast = fxsolve.compile(guarded, backend="eager")
    for k in range(4 * MOST):
        x = torch.full((60, 3), 3.0 * (k % 2))
        torch.testing.assert_close(fast(x), guarded(x))
    assert fast.report().status == "emitted"
    assert fast._runtime.latest.contest is None
