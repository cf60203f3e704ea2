"""To leave a program alone since sweeps do not settle is right for the weights that it had: that is asked again."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.report.report import Report
from fxsolve.runtime import calls, judging
from fxsolve.runtime.account import Account
from fxsolve.runtime.entries import Entry, Options
from fxsolve.runtime.trial import CallSeconds


class Decays(nn.Module):
    """A recurrence that forgets its past, or adds it up."""

    def __init__(self, forgets: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.forgets = forgets

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x[0])
        for row in x:
            y = torch.tanh(self.gain * y + row) if self.forgets else y + torch.tanh(row) * self.gain
        return y


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; each call takes a second, and so does each decision."""
    now, read = [0.0], calls.Runtime._read

    def look(self: Any, original: Any) -> Any:
        now[0] += 1.0
        return read(self, original)

    monkeypatch.setattr(calls.Runtime, "_read", look)
    monkeypatch.setattr(calls, "seconds_now", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("forgets", "asked"), [(True, 2), (False, 1)])
@torch.no_grad()
def test_what_sweeps_decided_is_decided_anew_when_calls_have_taken_long(
    monkeypatch: pytest.MonkeyPatch, forgets: bool, asked: int
) -> None:
    races: list[float] = []

    def race(*_: Any) -> CallSeconds:
        races.append(2.0 if not races else 0.1)  # the emitted form is faster with the weights to come
        return CallSeconds(1.0, races[-1])

    monkeypatch.setattr(judging, "race", race)
    model = Decays(forgets)
    fast = fxsolve.compile(model, backend="eager")
    x = torch.randn(24, 2)
    fast(x)
    assert fast.report().status == "left alone"
    for _ in range(80):
        torch.testing.assert_close(fast(x), model(x))
    assert len(races) == asked
    assert fast.report().status == ("emitted" if asked > 1 else "left alone")


def test_it_holds_twice_as_long_each_time_and_costs_calls_little() -> None:
    account, entry = Account(Options()), Entry(Report("program", "left alone"), by_sweeps=True)
    first = account.holds(entry, 1.0, None)
    assert first is not None
    assert first >= 50.0
    assert account.holds(entry, 1.0, first) == 2 * first
    assert account.holds(Entry(Report("program", "left alone")), 1.0, None) is None
    assert Account(Options(schedule="gs")).holds(entry, 1.0, None) is None
