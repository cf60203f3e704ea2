"""Calls that are left alone cost what the program costs: ever fewer of them are looked at."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

import fxsolve
from fxsolve.report.report import Report
from fxsolve.runtime.account import Account
from fxsolve.runtime.cache import Variant
from fxsolve.runtime.calls import Runtime
from fxsolve.runtime.entries import Entry, Options
from fxsolve.runtime.patience import Patience
from fxsolve.runtime.prospect import Prospect


def calls_looked_at(patience: Patience, calls: int) -> int:
    """Of so many calls of one kind that are left alone, each of them dear to look at."""
    looks = 0
    for _ in range(calls):
        if patience.resting > 0:
            patience.resting -= 1
        else:
            looks += 1
            patience.answered(is_alone=True, is_dear=True)
    return looks


def test_the_longer_calls_are_left_alone_the_fewer_are_looked_at_and_one_in_a_few_hundred_always_is() -> None:
    patience = Patience(16)
    assert 40 < calls_looked_at(patience, 1000) < 60
    calls_looked_at(patience, 50_000)
    assert calls_looked_at(patience, 25_700) == 100


def test_a_call_that_is_answered_by_an_emitted_module_ends_the_rest() -> None:
    patience = Patience(16)
    calls_looked_at(patience, 1000)
    patience.resting = 0
    patience.answered(is_alone=False, is_dear=True)
    assert patience.resting == 0


def test_calls_that_were_not_looked_at_are_counted_at_the_next_look() -> None:
    patience = Patience(16)
    patience.rest(10)
    patience.resting -= 4
    assert patience.rested() == 4
    patience.resting -= 6
    assert patience.rested() == 6
    assert patience.rested() == 0


@torch.no_grad()
def test_a_resting_program_runs_without_being_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, looks = nn.Linear(2, 2), torch.ones(1, 2), []
    fast = fxsolve.compile(model, backend="eager")
    fast(x)
    monkeypatch.setattr(Runtime, "_read", lambda self, call, read=Runtime._read: looks.append(1) or read(self, call))
    fast._runtime.patience.rest(3)
    for _ in range(3):
        assert torch.equal(fast(x), model(x))
    assert not looks
    fast(x)
    assert looks


def test_calls_that_were_not_looked_at_lose_what_compiled_steps_would_have_saved() -> None:
    graphs = frozenset({"steps"})
    prospect = cast("Prospect", SimpleNamespace(graphs=graphs, saving=0.5))
    variant = Variant(Entry(Report("program", "left alone"), prospect=prospect))
    account = Account(Options())
    account.lose(variant, 6)
    account.lose(variant, 0)
    assert account.ledger.lost == {graphs: 3.0}


def test_calls_that_were_not_looked_at_are_counted_in_what_is_told() -> None:
    fast, x = fxsolve.compile(torch.relu), torch.zeros(2)
    for count in range(1, 100):
        fast(x)
        assert [entry.calls for entry in fast.entries] == [count - 1]
