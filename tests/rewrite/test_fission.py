"""A repeat in its parts: each part holds what it is named for, and together they are the repeat."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from fxsolve.capture.program import Program
from fxsolve.ir.bodies import close_repeat, open_repeat
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Block, Equation, Invariant, Repeat, System
from fxsolve.ir.text import count_ops
from fxsolve.ir.verify import verify_system
from fxsolve.rewrite.fission import hoist, split_repeat
from fxsolve.rewrite.pipeline import simplify
from fxsolve.rewrite.prune import prune
from fxsolve.stages import capture
from tests.loops import small
from tests.loops.passes import rolled_system
from tests.loops.programs import given_values
from tests.loops.small import N, T, numbers

PROGRAMS: list[tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = [
    (small.with_inputs_and_outputs, (numbers(T, N),)),
    (small.the_same_at_every_step, (numbers(T, N), numbers(N, N))),
    (small.with_a_sum, (numbers(T, N),)),
    (small.an_output_that_is_not_wanted, (numbers(T, N),)),
    (small.filled_and_read_whole, (numbers(T, N),)),
    (small.two_steps_back, (numbers(T, N),)),
    (small.loop, (numbers(T, N),)),
]


def rolled(program: Callable[..., Any], *inputs: torch.Tensor) -> tuple[Program, System]:
    recorded = capture(program, *inputs)
    return recorded, prune(simplify(rolled_system(recorded.module.graph)))


def in_parts(system: System, split: Callable[[Repeat], list[Equation]]) -> System:
    equations: list[Equation] = []
    for equation in system.equations:
        equations += split(equation) if isinstance(equation, Repeat) else [equation]
    return replace(system, equations=tuple(equations))


def named(system: System) -> dict[str, Equation]:
    return {equation.name.removeprefix("loop0"): equation for equation in system.equations}


@pytest.mark.parametrize(("program", "inputs"), PROGRAMS, ids=[program.__name__ for program, _ in PROGRAMS])
def test_the_parts_of_a_repeat_are_the_repeat(program: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> None:
    recorded, system = rolled(program, *inputs)
    parts = in_parts(system, split_repeat)
    verify_system(parts)
    values = given_values(recorded)
    for found, wanted in zip(evaluate(parts, values), evaluate(system, values), strict=True):
        assert torch.equal(found, wanted)
    for part in parts.repeats:
        assert has_carry(part) or part.name != "loop0"
        assert not (has_carry(part) and part.name.endswith(("_inputs", "_outputs")))


def test_what_needs_no_earlier_step_and_what_feeds_no_later_one_leave_the_recurrence() -> None:
    _, system = rolled(small.with_inputs_and_outputs, numbers(T, N))
    parts = named(prune(in_parts(system, split_repeat)))
    before, carried, after = (parts[name] for name in ("_inputs", "", "_outputs"))
    assert [count_ops(part.body) for part in (before, carried, after)] == [2, 2, 2]


def test_what_every_step_shares_is_computed_once() -> None:
    recorded, system = rolled(small.the_same_at_every_step, numbers(T, N), numbers(N, N))

    def hoisted(repeat: Repeat) -> list[Equation]:
        opened = open_repeat(repeat)
        return [*hoist(opened), close_repeat(opened)]

    found = in_parts(system, hoisted)
    parts = named(found)
    assert isinstance(parts["_shared"], Block)
    assert "exp" in parts["_shared"].body.code
    assert "exp" not in parts[""].body.code
    outputs = parts["_shared"].outputs
    assert any(isinstance(read, Invariant) and read.source in outputs for read in parts[""].reads)  # pyright: ignore
    values = given_values(recorded)
    assert torch.equal(evaluate(found, values)[0], evaluate(system, values)[0])


def test_attention_that_every_step_shares_leaves_the_steps() -> None:
    """Its op may draw, for dropout, and was not left out of a step for that."""
    memory = numbers(2, 2, 5, 4)

    def program(x: torch.Tensor) -> torch.Tensor:
        for _ in range(T):
            x = torch.tanh(x + functional.scaled_dot_product_attention(memory * 2, memory, memory).mean((1, 2)))
        return x

    recorded, system = rolled(program, numbers(2, 4))
    parts = in_parts(system, split_repeat)
    (loop,) = (repeat for repeat in parts.repeats if has_carry(repeat))
    assert count_ops(loop.body) == 2
    values = given_values(recorded)
    assert torch.equal(evaluate(parts, values)[0], evaluate(system, values)[0])


def test_an_output_that_nothing_reads_is_in_no_part() -> None:
    _, system = rolled(small.an_output_that_is_not_wanted, numbers(T, N))
    assert "sin" not in "".join(part.body.code for part in prune(in_parts(system, split_repeat)).equations)


def test_a_recurrence_alone_stays_the_one_repeat() -> None:
    _, system = rolled(small.loop, numbers(T, N))
    (repeat,) = system.repeats
    (part,) = split_repeat(repeat)
    assert isinstance(part, Repeat)
    assert (part.name, part.reads, part.writes) == (repeat.name, repeat.reads, repeat.writes)
