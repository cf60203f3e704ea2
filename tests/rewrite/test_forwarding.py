"""What a loop only hands on is read where it comes from, with the same values."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import (
    AllSteps,
    Block,
    Equation,
    Invariant,
    Lag,
    Read,
    Repeat,
    Slices,
    Stacked,
    System,
    inputs_of,
)
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.ir.verify import verify_system
from fxsolve.rewrite.forwarding import Origins

aten = torch.ops.aten
T, N = 4, 3
SPEC = spec_of(torch.empty(N))
INPUTS = ("w", "x", "h", *(f"s{t}" for t in range(T)))
READS = (Invariant("w"), Slices("x", 1, (3, 0, 2, 1)), Stacked(tuple(f"s{t}" for t in range(T))))


def body(count: int, hand_on: bool) -> fx.GraphModule:
    """The sum of what is read, and what is read itself."""
    graph = fx.Graph()
    reads = [add_placeholder(graph, f"a{k}", SPEC) for k in range(count)]
    total = reads[0]
    for read in reads[1:]:
        total = graph.call_function(aten.add.Tensor, (total, read))
        total.meta["spec"] = SPEC
    graph.output((total, *(reads[1:] if hand_on else ())))
    return fx.GraphModule({}, graph)


FORWARD = Repeat(
    "forward",
    body(4, True),
    T,
    (Lag(0, ("h",)), *READS),
    (AllSteps("total", 0), *(AllSteps(f"kept{k}", k) for k in (1, 2, 3))),
)


def backward(index: tuple[int, ...]) -> Repeat:
    reads: tuple[Read, ...] = (
        Lag(0, ("h",)),
        Slices("total", 0, index),
        *(Slices(f"kept{k}", 0, index) for k in (1, 2, 3)),
    )
    return Repeat("backward", body(5, False), len(index), reads, (AllSteps("out", 0),))


def picking(dim: int) -> Block:
    """Entry 2 of each stack."""
    graph = fx.Graph()
    stacks = [add_placeholder(graph, name, spec_of(torch.empty(T, N))) for name in ("total", "kept1", "kept2", "kept3")]
    picks = [graph.call_function(aten.select.int, (stack, dim, 2)) for stack in stacks]
    for pick in picks:
        pick.meta["spec"] = spec_of(torch.empty(T, N).select(dim, 2))
    graph.output(tuple(picks))
    outputs = ("out", "p1", "p2", "p3")
    return Block("picks", fx.GraphModule({}, graph), ("total", "kept1", "kept2", "kept3"), outputs)


def check(equation: Equation, outputs: tuple[str, ...]) -> Equation:
    """The equation read through the forward loop, which gives what it gave."""
    origins = Origins()
    origins.note(FORWARD)
    found = origins.read_through(equation)
    before = System(INPUTS, (FORWARD, equation), outputs)
    after = replace(before, equations=(FORWARD, found))
    verify_system(after)
    values: dict[str, Tensor] = {name: torch.randn(N) for name in INPUTS}
    values["x"] = torch.randn(N, T)
    assert all(torch.equal(*pair) for pair in zip(evaluate(after, values), evaluate(before, values), strict=True))
    return found


@pytest.mark.parametrize("index", [(3, 2, 1, 0), (0, 1, 2, 3), (1, 1, 3)], ids=str)
def test_a_loop_reads_what_another_hands_on_where_it_comes_from(index: tuple[int, ...]) -> None:
    found = check(backward(index), ("out",))
    assert isinstance(found, Repeat)
    order = tuple((3, 0, 2, 1)[step] for step in index)
    stacked = Stacked(tuple(f"s{step}" for step in index))
    assert found.reads[1:] == (Slices("total", 0, index), Invariant("w"), Slices("x", 1, order), stacked)


def test_a_block_picks_single_steps_where_they_come_from() -> None:
    found = check(picking(0), ("out", "p1", "p2", "p3"))
    assert inputs_of(found) == ("total", "kept1", "kept2", "kept3", "w", "x", "s2")


def test_entries_along_another_dimension_are_no_steps() -> None:
    block = picking(1)
    found = check(block, ("out", "p1", "p2", "p3"))
    assert inputs_of(found) == block.inputs


def test_reads_that_become_equal_are_one() -> None:
    repeat = backward((0, 1, 2, 3))
    twice = replace(repeat, reads=(*repeat.reads[:2], *(Slices("kept1", 0, (t,) * 4) for t in range(3))))
    found = check(twice, ("out",))
    assert isinstance(found, Repeat)
    assert found.reads[2:] == (Invariant("w"),)


def test_what_reads_no_such_stack_is_left_as_it_is() -> None:
    origins = Origins()
    origins.note(FORWARD)
    assert origins.read_through(FORWARD) is FORWARD
    assert Origins().read_through(picking(0)).inputs == picking(0).inputs  # pyright: ignore
