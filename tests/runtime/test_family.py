"""Two recordings tell a third length: the same program as a recording there, and a reason where they do not tell it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.errors import PartitionError
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.text import system_text
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.runtime.family import Member, find_lengths, grow, sizes_of
from fxsolve.runtime.ready import generators_of
from fxsolve.runtime.visit import Visit
from fxsolve.stages import partition
from fxsolve.state.generators import rewinder
from tests.loops.programs import given_values
from tests.runtime.building import member_of, numbers, recorded, recurrence


def test_sizes_are_those_of_tensors_and_integers_in_order() -> None:
    assert sizes_of([numbers(2, 3), 7, "text", 2.5, True, numbers(4)]) == (2, 3, 7, 4)


def with_sizes(*sizes: int) -> Member:
    return Member(None, None, sizes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("one", "two", "wanted", "lengths"),
    [
        ((5, 2), (7, 2), (11, 2), Lengths(5, 7, 11)),
        ((5, 10), (7, 14), (11, 22), Lengths(5, 7, 11)),
        ((5, 4), (7, 6), (6, 5), Lengths(4, 6, 5)),
        ((5, 2), (7, 2), (11, 3), None),
        ((5, 10), (7, 14), (11, 21), None),
        ((5, 2), (5, 2), (5, 2), None),
        ((4, 10), (8, 11), (5, 10), None),
    ],
)
def test_a_length_is_one_number_in_which_all_sizes_are_affine(
    one: tuple[int, ...], two: tuple[int, ...], wanted: tuple[int, ...], lengths: Lengths | None
) -> None:
    assert find_lengths(with_sizes(*one), with_sizes(*two), wanted) == lengths


def test_a_member_holds_no_example() -> None:
    member = member_of(recurrence, numbers(5, 2))
    assert member.sizes == (5, 2)
    assert member.program.example.inputs == ()
    assert member.program.example.outputs == ()
    assert not any(node.op == "call_function" for node in member.program.module.graph.nodes)


@torch.no_grad()
def grown(program: Callable[..., Any], *lengths: int) -> tuple[Program, Any]:
    one, two = (member_of(program, numbers(length, 2)) for length in lengths[:2])
    rewind = rewinder([torch.default_generator])
    visit = Visit(program, (numbers(lengths[2], 2),), {})
    return grow(one, two, Lengths(*lengths), visit, rewind)


def random_walk(x: Tensor) -> Tensor:
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h + x_t + torch.randn_like(h))
    return h


@pytest.mark.parametrize("lengths", [(5, 7, 11), (5, 9, 3), (4, 6, 5)])
@pytest.mark.parametrize("program", [recurrence, random_walk])
@torch.no_grad()
def test_what_is_grown_is_the_program_recorded_at_that_length(
    program: Callable[..., Any], lengths: tuple[int, int, int], seed: int
) -> None:
    captured, system = grown(program, *lengths)
    torch.manual_seed(seed)
    expected = recorded(program, numbers(lengths[2], 2))
    assert system_text(system).count(f"x {lengths[2]}:") == system_text(partition(expected).system).count(
        f"x {lengths[2]}:"
    )
    for found, wanted in zip(evaluate(system, given_values(captured)), captured.example.outputs, strict=True):
        assert same_bits(found, wanted)
    assert [tuple(one.shape) for one in captured.example.outputs] == [
        tuple(one.shape) for one in expected.example.outputs
    ]


@torch.no_grad()
def test_the_run_at_the_new_length_is_the_programs_own() -> None:
    captured, _ = grown(recurrence, 5, 7, 11)
    assert same_bits(captured.example.outputs[0], recurrence(numbers(11, 2)))
    assert generators_of(captured) == ()


WEIGHTS = {5: numbers(2, 2), 7: numbers(2, 2)}


def writes_into_its_argument(x: Tensor) -> Tensor:
    for t in range(len(x)):
        x[t].tanh_()
    return x.sum(0)


def uses_another_tensor(x: Tensor) -> Tensor:
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h @ WEIGHTS[len(x)] + x_t)
    return h


def returns_more(x: Tensor) -> Any:
    states = recurrence(x)
    return (states, states[0]) if len(x) > 6 else (states,)


def draws_otherwise(x: Tensor) -> Tensor:
    noise = torch.randn_like(x) if len(x) > 8 else torch.rand_like(x)
    return recurrence(x + noise)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (writes_into_its_argument, "the program writes into tensors that outlive the call"),
        (uses_another_tensor, "the program uses other tensors at the other length"),
        (returns_more, "the results have another structure at the other length"),
        (draws_otherwise, "the program makes other calls at this length"),
    ],
)
def test_what_two_lengths_do_not_tell_is_said(program: Callable[..., Any], reason: str) -> None:
    with pytest.raises(PartitionError, match=reason):
        grown(program, 5, 7, 11)
