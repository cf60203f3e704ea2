"""Steps computed ahead: when they are tried, how they are measured, and why they are left."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fxsolve.plan import try_ahead as module
from fxsolve.plan.budget import Budget
from fxsolve.plan.complete import in_order
from fxsolve.plan.decision import Candidate
from fxsolve.plan.probe import ProbeRun
from fxsolve.plan.rules import choose
from fxsolve.plan.trial import Situation, Trial
from fxsolve.plan.try_ahead import steps_ahead, try_ahead
from tests.loops.programs import Sample
from tests.plan.situations import situation

SECONDS = 5e-3


def settling(u: Tensor) -> Tensor:
    z = torch.zeros_like(u)
    for _ in range(100):
        new = 0.8 * z + u
        if (new - z).abs().max() < 1e-4:
            break
        z = new
    return new


@pytest.fixture
def here() -> Situation:
    return situation(Sample("settling", settling, (torch.ones(3),), (40,)), backend="inductor")


def trial(here: Situation, seconds: float = SECONDS) -> Trial:
    parts = (in_order(here.repeat),)
    return Trial(
        Candidate(str(parts[0]), "eager", seconds, "measured", "each step may be the last"), parts, here.repeat.length
    )


def measured(monkeypatch: pytest.MonkeyPatch, compiled: float, other: float = 0.0, error: str = "") -> None:
    """Compiled steps take `compiled` of the time, and give results that are off by `other`."""

    def run(repeat, values, parts, stop) -> ProbeRun:
        ahead = parts[0].ahead > 1
        results = {write.name: torch.ones(3) + other * ahead for write in repeat.writes}
        return ProbeRun(results, SECONDS * (compiled if ahead else 1), 40)

    def compile_steps(situation, tried) -> None:
        if error:
            raise RuntimeError(error)

    monkeypatch.setattr(module, "run_parts", run)
    monkeypatch.setattr(module, "_compile", compile_steps)


def test_several_steps_are_priced_beside_one_by_one(here: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, 0.25)
    found = try_ahead(here, trial(here))
    assert found is not None
    assert found.seconds == pytest.approx(SECONDS / 4)
    assert str(found.parts[0]) == f"while({here.repeat.name}, ahead=8)"
    assert found.candidate.reason == "8 steps in one compiled call, 25% of the time of one by one"


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (1e-7, "", "compiled steps give other bits than the program's own"),
        (0.0, "no compiler\nat all", "inductor failed: no compiler"),
    ],
)
def test_it_is_said_why_they_are_left(
    here: Situation, monkeypatch: pytest.MonkeyPatch, other: float, error: str, message: str
) -> None:
    measured(monkeypatch, 0.25, other, error)
    found = try_ahead(here, trial(here))
    assert found is not None
    assert found.sweeps is None
    assert found.candidate.reason == message


@pytest.mark.parametrize(
    ("changes", "seconds"), [({"backend": "eager"}, SECONDS), ({}, 1e-4), ({}, 10.0)], ids=["eager", "short", "large"]
)
def test_nothing_is_compiled_that_cannot_pay(
    here: Situation, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], seconds: float
) -> None:
    """Not in a short loop, and not where the ops take long themselves."""
    measured(monkeypatch, 0.25)
    assert try_ahead(replace(here, **changes), trial(here, seconds)) is None


@pytest.mark.parametrize(("compiled", "text"), [(0.25, "ahead=8"), (0.99, "while(while0)")])
def test_the_automatic_choice_takes_them_where_they_are_faster(
    here: Situation, monkeypatch: pytest.MonkeyPatch, compiled: float, text: str
) -> None:
    measured(monkeypatch, compiled)
    monkeypatch.setattr(Budget, "least_seconds", 0.0)
    monkeypatch.setattr(module, "most_ops", lambda saved, runs: 1000)
    choice, run = choose(here)
    assert text in choice.chosen.schedule
    assert len(choice.rejected) == 1
    assert run.sweeps == here.repeat.length


def test_steps_of_many_calls_are_few_in_one_call() -> None:
    assert steps_ahead(100, 10, 1000) == 8
    assert steps_ahead(100, 40, 1000) == 4
    assert steps_ahead(100, 10, 50) == 4
    assert steps_ahead(5, 10, 1000) == 4
    assert steps_ahead(100, 150, 1000) == 0
