"""A system is decided upon by solving it once: every loop has a choice, and the schedule solves all equations."""

import pytest
import torch

from fxsolve.errors import InputError
from fxsolve.ir.evaluate import evaluate
from fxsolve.plan.auto import decide, example_values
from fxsolve.plan.schedule import leaves, name_of
from fxsolve.plan.verify import verify_schedule
from fxsolve.stages import emit_system, partition, schedule_system
from tests.ir.by_hand import RNN, values
from tests.loops.programs import gru


def test_every_equation_is_solved_and_every_loop_has_a_choice() -> None:
    system = RNN.system()
    given = dict(zip(("x", "w"), values(), strict=True))
    decision = decide(system, given, {}, backend="eager")
    verify_schedule(decision.schedule, system)
    assert {name_of(leaf) for leaf in leaves(decision.schedule)} == {"inputs", "weights", "cell", "total"}
    assert [choice.repeat for choice in decision.choices] == ["cell"]
    with torch.no_grad():
        (found,) = emit_system(system, decision)(*values())
        (wanted,) = evaluate(system, given)
    torch.testing.assert_close(found, wanted)


def test_a_choice_needs_values_to_measure_on() -> None:
    with pytest.raises(InputError, match="an automatic choice measures on values"):
        schedule_system(RNN.system())


def test_a_program_brings_the_values_of_its_recorded_run() -> None:
    program = gru.captured()
    given = example_values(program)
    system = partition(program).system
    assert set(system.inputs) <= set(given)
    with torch.no_grad():
        found = evaluate(system, given)
    assert all(torch.equal(*pair) for pair in zip(found, program.example.outputs, strict=True))
