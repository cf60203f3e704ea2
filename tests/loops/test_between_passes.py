"""The law of every pass: it leaves a well-formed system that computes what was recorded."""

from dataclasses import replace

import pytest

from fxsolve.capture.program import Program
from fxsolve.ir.spec import Read, Slices, System
from fxsolve.stages import partition
from tests.loops import passes, programs
from tests.loops.between_passes import check_every_pass
from tests.loops.programs import SAMPLES, Sample


def check(program: Program) -> None:
    check_every_pass(program, partition(program).system, 0.0)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_pass_leaves_the_program_of_a_sample(sample: Sample) -> None:
    check(sample.captured())


def test_a_pass_that_breaks_a_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop_the_first(system: System) -> System:
        return replace(system, equations=system.equations[1:])

    monkeypatch.setattr(passes, "SYSTEM_PASSES", (*passes.SYSTEM_PASSES, drop_the_first))
    with pytest.raises(AssertionError, match=r"behind drop_the_first: loop0 .* reads .* before it is written"):
        check(programs.stacked_last.captured())


def test_a_pass_that_changes_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_a_step(system: System) -> System:
        (loop,) = system.repeats
        shorter = replace(loop, length=3, reads=tuple(map(_shortened, loop.reads)))
        return replace(system, equations=tuple(shorter if one is loop else one for one in system.equations))

    monkeypatch.setattr(passes, "SYSTEM_PASSES", (*passes.SYSTEM_PASSES, forget_a_step))
    with pytest.raises(AssertionError, match="behind forget_a_step: output 0 is"):
        check(programs.power_iteration.captured())


def _shortened(read: Read) -> Read:
    return replace(read, index=read.index[:3]) if isinstance(read, Slices) else read
