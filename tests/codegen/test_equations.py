"""The equations of a system, emitted in the order of a schedule."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fxsolve.codegen.equations import Plan, emit_equations
from fxsolve.codegen.values import ProgramEmission
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import Block, outputs_of
from fxsolve.loops.partition import partition
from fxsolve.plan.text import parse_schedule
from fxsolve.solvers.solution import observe
from fxsolve.stages import capture
from tests.loops import small
from tests.loops.programs import given_values

PROGRAMS = (small.loop, small.with_inputs_and_outputs, small.layers_over_time, small.one_loop_for_all_steps)


@pytest.mark.parametrize(
    ("program", "text"),
    [*((program, "gs") for program in PROGRAMS), *((program, "jacobi") for program in PROGRAMS[:2])],
)
def test_the_emitted_equations_are_the_system(program: Callable[[Tensor], Tensor], text: str) -> None:
    recorded = capture(program, small.numbers(small.T, small.N))
    system, values = partition(recorded).system, given_values(recorded)
    emission, known = ProgramEmission(), list[set[str]]()
    emission.open_values(system.inputs)
    plan = Plan(parse_schedule(text, system))
    emit_equations(emission, system, plan, lambda: known.append(set(emission.values)))
    module = emission.finish(system.outputs, "Program")
    with torch.no_grad(), observe() as solutions:
        found = module(*(values[name] for name in system.inputs))
    for value, wanted in zip(found, evaluate(system, values), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0 if text == "gs" else 1e-5, atol=0 if text == "gs" else 1e-6)
    assert solutions
    before = [name for one in system.equations if not isinstance(one, Block) for name in outputs_of(one)]
    assert len(known) == 1  # once, and in front of all loops
    assert known[0].isdisjoint(before)
    assert known[0].issuperset(system.inputs)


def test_a_schedule_may_name_equations_that_are_not_there() -> None:
    recorded = capture(small.loop, small.numbers(small.T, small.N))
    system = partition(recorded).system
    plan = Plan(parse_schedule("gs", system))
    first = system.equations[0]
    emission = ProgramEmission()
    emission.open_values((*system.inputs, *outputs_of(first)))
    part = type(system)(system.inputs, system.equations[1:], system.outputs)
    emit_equations(emission, part, plan, lambda: None)
    assert set(system.outputs) <= set(emission.values)


def test_only_steps_in_order_keep_the_strides_of_the_program() -> None:
    system = partition(capture(small.loop, small.numbers(small.T, small.N))).system
    (loop,) = system.repeats
    in_order = parse_schedule("gs", system)
    assert not Plan(in_order).chooses_strides()
    assert Plan(parse_schedule(f"fused({loop.name}, unroll=4)", system)).chooses_strides()
    assert Plan(parse_schedule("jacobi", system)).chooses_strides()
