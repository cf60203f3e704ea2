"""Entries computed once: when that is tried, in which forms, and what the report says of it."""

import math
from dataclasses import replace

import pytest
import torch

import fxsolve
from fxsolve.errors import ScheduleError
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import whole
from fxsolve.plan.methods import incremental as module
from fxsolve.plan.methods.incremental import AHEAD, LEAST_SETTLED, PLANNED_SECONDS, STEP_SECONDS, Incremental
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.schedule import text_of
from fxsolve.plan.trial import Situation, Trial, Weighed
from tests.loops.programs import Sample
from tests.plan.situations import situation
from tests.samplers import SAMPLERS, wave

# torch calls it when inductor is used for the first time.
LONG = 1.0  # seconds of a step


def of(name: str, backend: str):
    program, inputs = SAMPLERS[name]()
    return situation(Sample(name, program, inputs, ()), backend=backend)


@torch.no_grad()
def test_it_is_measured_as_it_is_and_with_compiled_stages_which_draw_the_same() -> None:
    here = of("words, fused attention", "inductor")
    plain, compiled = Incremental.price(here, Weighed(here.repeat, LONG))
    assert plain.candidate.schedule == "incremental(loop0[0:9])"
    assert compiled.candidate.schedule == "incremental(loop0[0:9], unroll=1)"
    assert (plain.candidate.backend, compiled.candidate.backend) == ("eager", "inductor")
    assert None not in (plain.sweeps, compiled.sweeps), compiled.candidate.reason
    assert plain.candidate.reason.startswith(f"each entry once, and {plain.sweeps} sweeps; keeps ")
    program, inputs = SAMPLERS["words, fused attention"]()
    fast = fxsolve.compile(program, inputs, schedule=compiled.candidate.schedule)
    torch.manual_seed(1)
    expected = program(*inputs)
    torch.manual_seed(1)
    assert torch.equal(fast(*inputs), expected)
    assert compiled.candidate.schedule in str(fast.schedule)


@torch.no_grad()
def test_it_is_not_tried_where_there_is_nothing_to_gain() -> None:
    here = of("made, random degrees", "eager")
    short = PLANNED_SECONDS / here.repeat.length / 2
    assert Incremental.price(here, Weighed(here.repeat, short)) == []
    (trial,) = Incremental.price(here, Weighed(here.repeat, LONG))
    quick = replace(trial, candidate=replace(trial.candidate, seconds=STEP_SECONDS))
    assert Incremental.price(here, Weighed(here.repeat, LONG, (quick,))) == []


@torch.no_grad()
def test_the_report_names_what_is_computed_whole() -> None:
    program, inputs = SAMPLERS["running sum"]()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    assert "in every step whole: cumsum" in " ".join(str(fast.report()).split())


@pytest.mark.parametrize("option", ["unroll=2", "window=0"])
@torch.no_grad()
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    program, inputs = SAMPLERS["wave"]()
    with pytest.raises(ScheduleError, match="incremental"):
        fxsolve.compile(program, inputs, schedule=f"incremental(loop0[0:20], {option})", backend="eager")


@torch.no_grad()
def test_sweeps_of_windows_find_the_same() -> None:
    program, inputs = SAMPLERS["words, fused attention"]()
    text = "incremental(loop0[0:9], window=4)"
    fast = fxsolve.compile(program, inputs, schedule=text, backend="eager")
    torch.manual_seed(1)
    expected = program(*inputs)
    torch.manual_seed(1)
    assert torch.equal(fast(*inputs), expected)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert (text in str(fast.schedule), run.sweeps) == (True, 3)


@torch.no_grad()
def test_values_that_are_not_numbers_are_those_of_the_program() -> None:
    program, (noise,) = SAMPLERS["wave"]()
    fast = fxsolve.compile(program, (noise,), schedule="incremental", backend="eager")
    spoiled = noise.clone()
    spoiled[0, 0, 5] = torch.nan
    torch.testing.assert_close(fast(spoiled), program(spoiled), equal_nan=True)


def swept(here: Situation, sweeps: int, seconds: float = 0.0) -> Weighed:
    """As if so many sweeps of all steps had been needed, and each had taken so long."""
    parts = (Jacobi(whole(here.repeat)),)
    trial = Trial(Candidate(text_of(parts), "eager", LONG * sweeps, "derived", ""), parts, sweeps, seconds)
    return Weighed(here.repeat, LONG, (trial,))


@torch.no_grad()
def test_windows_are_tried_where_sweeps_settle_several_steps_each(monkeypatch: pytest.MonkeyPatch) -> None:
    length, width = 80, AHEAD[-1]
    program, inputs = wave(length)
    here = situation(Sample("wave", program, inputs, ()), backend="eager")
    assert len(Incremental.price(here, Weighed(here.repeat, LONG))) == 1
    assert len(Incremental.price(here, swept(here, length // LEAST_SETTLED + 1))) == 1
    few = swept(here, length // LEAST_SETTLED)
    measured = module._measured
    for seconds, wins in ((0.0, True), (math.inf, False)):

        def of_windows(here: Situation, node: Incremental, backend: str = "eager", to: float = seconds) -> Trial:
            found = measured(here, node, backend)
            return replace(found, candidate=replace(found.candidate, seconds=to)) if node.lookahead else found

        monkeypatch.setattr(module, "_measured", of_windows)
        _, trial = Incremental.price(here, few)
        assert trial.candidate.schedule == f"incremental(loop0[0:{length}], lookahead={width})"
        assert trial.candidate.reason.startswith("each entry while it may change, in ")
        assert (trial.sweeps is not None) == wins
    fast = fxsolve.compile(program, inputs, schedule=trial.candidate.schedule, backend="eager")
    torch.testing.assert_close(fast(*inputs), program(*inputs))
    assert trial.candidate.schedule in str(fast.schedule)


@torch.no_grad()
def test_windows_whose_sweeps_cost_much_are_not_measured() -> None:
    program, inputs = wave(80)
    here = situation(Sample("wave", program, inputs, ()), backend="eager")
    assert len(Incremental.price(here, swept(here, 1, seconds=LONG))) == 1
