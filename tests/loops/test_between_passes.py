"""The law of every pass: it leaves a well-formed system that computes what was recorded."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.errors import CaptureError, PartitionError
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import Read, Slices, System
from fxsolve.ir.verify import verify_system
from fxsolve.stages import partition
from tests.loops import passes, programs
from tests.loops.passes import after_each, full_text
from tests.loops.programs import SAMPLES, Sample, given_values
from tests.table.follow import captured
from tests.table.observe import is_close
from tests.table.row import Row
from tests.test_table import ROWS

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]


def check_every_pass(program: Program, tolerance: float) -> None:
    last = None
    for name, last in after_each(program):
        try:
            verify_system(last)
        except PartitionError as error:
            raise AssertionError(f"behind {name}: {error}") from error
        with torch.set_grad_enabled(program.grad):  # the layer of oneDNN keeps what its backward pass reads only then
            outputs = evaluate(last, given_values(program))
        for number, (found, expected) in enumerate(zip(outputs, recorded(program), strict=True)):
            assert is_close(found, expected, tolerance), f"behind {name}: output {number} is {found}, not {expected}"
    assert last is not None
    assert full_text(last) == full_text(partition(program).system)


def recorded(program: Program) -> list[Tensor]:
    """What the outputs of the program were, and what its guards read."""
    results = next(iter(program.module.graph.find_nodes(op="output"))).args[0]
    read = zip(results[len(program.example.outputs) :], program.guards, strict=True)
    numbers = [
        torch.tensor(guard.expected, dtype=node.meta["spec"].dtype).reshape(node.meta["spec"].shape)
        for node, guard in read
    ]
    return [*program.example.outputs, *numbers]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_pass_leaves_the_program_of_a_sample(sample: Sample) -> None:
    check_every_pass(sample.captured(), 0.0)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_pass_leaves_the_program_of_a_row(row: Row) -> None:
    with row.mode():
        program = captured(row)
        if isinstance(program, CaptureError):
            assert row.ran == "original"
            return
        # Rolled, a backward pass reads stacks, and the products of matrices that lie elsewhere round differently.
        rounding = 1e-14 if _differentiates(program) else 0.0
        check_every_pass(program, max(row.tolerance, rounding) if row.grad else rounding)


def _differentiates(program: Program) -> bool:
    """Whether a backward pass runs inside of the program."""
    return any("_backward" in str(node.target) for node in program.module.graph.nodes)


def test_a_pass_that_breaks_a_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop_the_first(system: System) -> System:
        return replace(system, equations=system.equations[1:])

    monkeypatch.setattr(passes, "SYSTEM_PASSES", (*passes.SYSTEM_PASSES, drop_the_first))
    with pytest.raises(AssertionError, match=r"behind drop_the_first: loop0 .* reads .* before it is written"):
        check_every_pass(programs.stacked_last.captured(), 0.0)


def test_a_pass_that_changes_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_a_step(system: System) -> System:
        (loop,) = system.repeats
        shorter = replace(loop, length=3, reads=tuple(map(_shortened, loop.reads)))
        return replace(system, equations=tuple(shorter if one is loop else one for one in system.equations))

    monkeypatch.setattr(passes, "SYSTEM_PASSES", (*passes.SYSTEM_PASSES, forget_a_step))
    with pytest.raises(AssertionError, match="behind forget_a_step: output 0 is"):
        check_every_pass(programs.power_iteration.captured(), 0.0)


def _shortened(read: Read) -> Read:
    return replace(read, index=read.index[:3]) if isinstance(read, Slices) else read
