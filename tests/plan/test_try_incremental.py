"""Entries computed once: when that is tried, in which forms, and what the report says of it."""

from dataclasses import replace

import pytest
import torch

import fxsolve
from fxsolve.errors import ScheduleError
from fxsolve.plan.methods.incremental import PLANNED_SECONDS, STEP_SECONDS, Incremental
from fxsolve.plan.trial import Weighed
from tests.loops.programs import Sample
from tests.plan.situations import situation
from tests.samplers import SAMPLERS

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
