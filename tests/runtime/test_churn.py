"""What recording may cost, where calls are of ever new kinds."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.economy import ledger
from fxsolve.economy.ledger import FREE, START_SECONDS, Ledger
from fxsolve.runtime import calls, entry
from fxsolve.runtime.faults import LeftAloneError


def test_beyond_a_start_recordings_take_no_longer_than_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "START_SECONDS", START_SECONDS)
    found = Ledger()
    for _ in range(1000):
        found.run(0.01)
        if not found.why_not_record():
            found.work(0.5)
    assert found.worked <= START_SECONDS + found.ran + 0.5
    assert found.worked >= found.ran - 0.5


def test_a_few_recordings_are_made_whatever_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "START_SECONDS", START_SECONDS)
    found = Ledger()
    for _ in range(FREE):
        assert not found.why_not_record()
        found.work(100.0)
    assert found.why_not_record()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One item for each recording that was begun."""
    begun: list[Any] = []
    real = entry.capture
    monkeypatch.setattr(entry, "capture", lambda *given: begun.append(given) or real(*given))
    return begun


@pytest.fixture
def never_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every emitted module loses its race."""

    def lose(self: Any, *_: Any) -> None:
        self.maker.report = replace(self.maker.report, original_seconds=1.0, emitted_seconds=2.0)
        raise LeftAloneError("sequential is best here: it takes 2.00 times as long")

    monkeypatch.setattr("fxsolve.runtime.compilation.Compilation._race", lose)


def decayed(x: Tensor) -> Tensor:
    y = x[0]
    for row in x:
        y = 0.9 * y + torch.tanh(row)
    return y


def call(fast: Any, *sizes: tuple[int, int]) -> None:
    with torch.no_grad():
        for size in sizes:
            x = torch.randn(size)
            torch.testing.assert_close(fast(x), decayed(x))


@pytest.mark.usefixtures("never_faster")
def test_what_was_left_alone_at_two_sizes_is_at_a_third(recorded: list[Any]) -> None:
    fast = fxsolve.compile(decayed, backend="eager")
    call(fast, (20, 3), (24, 3), (22, 3), (21, 3), (24, 4))
    assert len(recorded) == 2
    assert fast.report().reason.startswith("not recorded: it was left alone at 2 sizes like these: sequential is best")
    assert [one.status for one in fast.entries] == ["left alone"] * 5


@pytest.mark.usefixtures("never_faster")
@pytest.mark.parametrize("size", [(60, 3), (22, 30), (8, 3)])
def test_sizes_far_away_are_looked_at(recorded: list[Any], size: tuple[int, int]) -> None:
    fast = fxsolve.compile(decayed, backend="eager")
    call(fast, (20, 3), (24, 3))
    begun = len(recorded)
    call(fast, size)
    assert len(recorded) > begun or "recordings at the lengths" in str(fast.report().notes)


@pytest.mark.usefixtures("never_faster")
def test_a_size_that_comes_often_is_recorded_when_its_calls_took_as_long(
    recorded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(calls, "seconds_now", tick)
    fast = fxsolve.compile(decayed, backend="eager")
    call(fast, (20, 3), (24, 3))
    call(fast, (22, 3))
    assert fast.report().reason.startswith("not recorded")
    call(fast, *[(22, 3)] * 20)
    assert fast.report().reason.startswith("sequential is best here")


@pytest.mark.usefixtures("never_faster")
def test_new_kinds_wait_until_calls_took_as_long_as_recordings(
    recorded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "START_SECONDS", 0.0)
    fast = fxsolve.compile(decayed, backend="eager")
    call(fast, (20, 3), (60, 3))
    fast._runtime._account.ledger.work(100.0)
    call(fast, (200, 3))
    assert "new kinds of calls are recorded when calls have taken longer" in fast.report().reason
    assert len(recorded) == 2
    fast._runtime._account.ledger.run(200.0)
    call(fast, (200, 3))
    assert fast.report().reason.startswith("sequential is best here")


def test_a_schedule_of_the_user_waits_for_nothing(recorded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "START_SECONDS", 0.0)
    fast = fxsolve.compile(decayed, schedule="gs", backend="eager")
    call(fast, (20, 3), (60, 3))
    fast._runtime._account.ledger.work(100.0)
    call(fast, (200, 3))
    assert fast.report().status == "emitted"


CLOCK = [0.0]


class Timed(nn.Module):
    """Takes so many seconds a call, by a clock that is not part of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        CLOCK[0] += self.seconds
        return decayed(x)


@pytest.mark.usefixtures("never_faster")
@pytest.mark.parametrize(("seconds", "rests"), [(1e-9, True), (1e3, False)])
def test_what_is_left_alone_is_looked_at_seldom_where_that_takes_long(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rests: bool
) -> None:
    """Ever more calls go right to the program; another kind of call is seen again behind these."""
    looks, now, before = [], CLOCK, calls.Runtime._read

    def look(self: Any, original: Any) -> Any:
        looks.append(original)
        now[0] += 1.0
        return before(self, original)

    monkeypatch.setattr(calls.Runtime, "_read", look)
    monkeypatch.setattr(calls, "seconds_now", lambda: now[0])
    fast = fxsolve.compile(Timed(seconds), backend="eager")
    with torch.no_grad():
        for _ in range(300):
            fast(torch.randn(20, 3))
        assert (len(looks) < 100) == rests
        assert len(looks) > 10
        for _ in range(40):
            x = torch.randn(30, 3)
            torch.testing.assert_close(fast(x), decayed(x))
    assert fast.report().signature == "float32[30, 3]"
