"""Loops in loops: which nest is found, that it is the program bit for bit, and what stays flat."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.errors import PartitionError
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.nested import Nested, every_repeat, loops_inside, with_solvers
from fxsolve.ir.spec import AllSteps, Block, Invariant, Lag, LastStep, Repeat, Slices, Stacked, System, Table
from fxsolve.ir.text import pattern_text, system_text
from fxsolve.ir.verify import verify_system
from fxsolve.loops.nesting import nests as rules
from fxsolve.loops.nesting.lift import lift_loops
from fxsolve.loops.partition import Partition
from fxsolve.lower.batch import batch, check_plain
from fxsolve.lower.unroll import can_unroll
from fxsolve.rewrite.prune import prune
from fxsolve.stages import capture, partition
from tests.loops.nests import (
    COLUMNS,
    FLAT,
    LAYERS,
    LONG,
    NESTS,
    ROWS,
    B,
    Encoded,
    LayersOverTime,
    N,
    Nest,
    Rows,
    Unfolded,
    shapes_of,
)
from tests.loops.programs import given_values


def recorded(program: nn.Module | object, *inputs: Tensor) -> Program:
    with torch.no_grad():
        return capture(program, *inputs)  # pyright: ignore[reportArgumentType]


def parted(nest: Nest) -> tuple[Program, Partition]:
    program = recorded(nest.program(), *nest.inputs(1))
    return program, partition(program)


def assert_equal_to_recorded(program: Program, system: System) -> None:
    with torch.no_grad():
        outputs = evaluate(system, given_values(program))
    for output, expected in zip(outputs, program.example.outputs, strict=True):
        assert same_bits(output, expected)


@pytest.mark.parametrize("nest", NESTS, ids=str)
def test_a_nest_is_rolled_at_every_level_and_is_the_program_bit_for_bit(nest: Nest) -> None:
    program, parts = parted(nest)
    assert shapes_of(parts.system) == nest.found
    assert parts.notes == ()
    assert_equal_to_recorded(program, parts.system)


@pytest.mark.parametrize("nest", FLAT, ids=str)
def test_what_would_lose_by_rolling_stays_flat(nest: Nest) -> None:
    program, parts = parted(nest)
    assert shapes_of(parts.system) == nest.found
    assert_equal_to_recorded(program, parts.system)


def test_a_loop_around_others_that_stays_apart_is_named_with_the_reason() -> None:
    listed, masked, short = (parted(nest)[1].notes for nest in FLAT)
    (note,) = listed
    assert f"{ROWS} steps at" in note
    assert f"with loops in them stay apart: {COLUMNS} single steps of loops inside loop0 are read from outside" in note
    assert "nests.py:" in note
    assert any("reads a buffer whole" in note for note in masked)
    assert short == ()


@pytest.mark.parametrize(("limit", "shape"), [(1000, (9,)), (10, (9, (5,)))])
def test_the_shorter_loop_is_rolled_inside_only_above_the_limit(
    limit: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FLAT_CALLS", limit)
    program = recorded(Unfolded(5), torch.randn(9, B, N))
    system = partition(program).system
    assert shapes_of(system)[1] == shape
    assert_equal_to_recorded(program, system)


@pytest.mark.parametrize("layers", [3, 6, 12])
def test_the_number_of_equations_does_not_grow_with_the_outer_trip_count(layers: int) -> None:
    system = partition(recorded(LayersOverTime(layers), torch.randn(14, B, N))).system
    assert len(system.equations) == 1
    assert shapes_of(system) == ((layers, (14,), (14,)),)


def test_weights_of_layers_are_stacked_outside_and_invariant_inside() -> None:
    (outer,) = partition(recorded(LayersOverTime(), torch.randn(LONG, B, N))).system.repeats
    kinds = [type(read) for read in outer.reads]
    assert kinds.count(Stacked) == 6
    assert kinds.count(Lag) == 1
    inputs, recurrence = loops_inside(outer)
    assert {type(read) for read in inputs.reads} == {Invariant, Slices}
    assert {type(read) for read in recurrence.reads} == {Invariant, Slices, Lag}
    assert [type(write) for write in recurrence.writes] == [AllSteps]


def test_a_step_in_time_wants_only_the_last_substep() -> None:
    _, outer, _ = partition(recorded(Unfolded(), torch.randn(4, B, N))).system.repeats
    (inner,) = loops_inside(outer)
    assert [type(write) for write in inner.writes] == [LastStep]


def test_transposed_weights_are_hoisted_out_of_both_loops() -> None:
    system = partition(recorded(Rows(), torch.randn(ROWS, COLUMNS, B, N))).system
    shared = next(equation for equation in system.equations if equation.name == "loop0_shared")
    assert sum(node.target is torch.ops.aten.t.default for node in shared.body.graph.nodes) == 3
    for repeat in every_repeat(system):
        assert not any(node.target is torch.ops.aten.t.default for node in repeat.body.graph.nodes)


def test_a_loop_that_no_outer_step_changes_becomes_an_equation_of_its_own() -> None:
    system = partition(recorded(Encoded(), torch.randn(4, B, N))).system
    inner, outer = system.repeats
    assert (inner.length, outer.length) == (COLUMNS, 4)
    assert not any(loops_inside(repeat) for repeat in system.repeats)


def test_programs_with_a_backward_pass_stay_flat() -> None:
    program = capture(LayersOverTime(), torch.randn(LONG, B, N, requires_grad=True))
    assert program.backward is not None
    assert not any(loops_inside(repeat) for repeat in partition(program).system.repeats)


def test_a_nest_in_text_stands_below_the_loop_that_runs_it() -> None:
    system = partition(recorded(LayersOverTime(), torch.randn(LONG, B, N))).system
    assert pattern_text(system).splitlines() == [
        f"loop0 x {LAYERS}: x_t reads x_(t-1)",
        f"  loop0_loop0_inputs x {LONG}: steps are independent",
        f"  loop0_loop0 x {LONG}: x_t reads x_(t-1)",
    ]
    text = system_text(system)
    assert "ops and 2 loops" in text
    assert f"\n  loop0_loop0 x {LONG}: 3 ops" in text


# The nested call.


def counted(length: int = 3) -> Repeat:
    """y_t = y_{t-1} * w + table_t: one output, last step wanted under the name y."""
    graph = fx.Graph()
    y, w, number = (graph.placeholder(name) for name in ("y_before", "w", "number"))
    scaled = graph.call_function(torch.ops.aten.mul.Tensor, (y, w))
    graph.output((graph.call_function(torch.ops.aten.add.Tensor, (scaled, number)),))
    reads = (Lag(0, ("start",)), Invariant("weight"), Table(tuple(range(length))))
    return Repeat("inner", fx.GraphModule({}, graph), length, reads, (LastStep("y", 0), AllSteps("ys", 0)))


def test_a_nested_call_gives_a_value_for_each_write() -> None:
    nested = Nested(counted())
    assert nested.inputs == ("start", "weight")
    last, steps = nested(torch.tensor(1.0), torch.tensor(2.0))
    assert steps.tolist() == [2.0, 5.0, 12.0]
    assert last == 12.0


def outer_of(inner: Repeat) -> Repeat:
    graph = fx.Graph()
    start, weight = graph.placeholder("s"), graph.placeholder("w")
    graph.output((graph.call_function(torch.Tensor.abs, (graph.call_function(Nested(inner), (start, weight)),)),))
    return Repeat("outer", fx.GraphModule({}, graph), 2, (Lag(0, ("s0",)), Invariant("w0")), (LastStep("out", 0),))


def test_a_nested_call_takes_as_many_values_as_its_loop_reads() -> None:
    outer = outer_of(counted())
    verify_system(System(("s0", "w0"), (outer,), ("out",)))
    call = next(node for node in outer.body.graph.nodes if isinstance(node.target, Nested))
    call.args = call.args[:1]
    with pytest.raises(PartitionError, match="outer gives 1 values to inner, which reads 2"):
        verify_system(System(("s0", "w0"), (outer,), ("out",)))


def test_loops_inside_have_names_of_their_own() -> None:
    outer = outer_of(replace(counted(), name="outer"))
    with pytest.raises(PartitionError, match="two equations are named outer"):
        verify_system(System(("s0", "w0"), (outer,), ("out",)))


def test_steps_that_run_a_recurrence_are_neither_batched_nor_fused() -> None:
    outer = outer_of(counted())
    with pytest.raises(PartitionError, match="a step of outer runs inner, a loop of its own"):
        check_plain(outer)
    with pytest.raises(PartitionError, match="reads a number that changes with a loop around it"):
        batch(outer, 2)
    assert not can_unroll(outer)


def test_steps_that_read_numbers_of_an_outer_loop_are_neither_batched_nor_fused() -> None:
    system = partition(recorded(next(nest for nest in NESTS if nest.name == "numbered").program(), *number_image()))
    inner = next(inner for repeat in system.system.repeats for inner in loops_inside(repeat))
    with pytest.raises(PartitionError, match="reads a number that changes with a loop around it"):
        batch(inner, inner.length)
    assert not can_unroll(inner)


def number_image() -> list[Tensor]:
    return [torch.randn(ROWS, COLUMNS, B, N)]


def test_solvers_replace_the_evaluator_and_leave_the_repeat_as_it_is() -> None:
    outer = outer_of(counted())
    solved = with_solvers(outer, lambda inner: lambda *given: (torch.tensor(float(inner.length)), torch.zeros(3)))
    (call,) = (node for node in solved.body.graph.nodes if isinstance(node.target, Nested))
    assert call.target(None, None)[0] == 3
    assert all(node.target.solve is None for node in outer.body.graph.nodes if isinstance(node.target, Nested))


def test_a_block_with_loops_is_taken_apart_and_computes_the_same() -> None:
    graph = fx.Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    doubled = graph.call_function(torch.ops.aten.mul.Tensor, (x, 2))
    call = graph.call_function(Nested(counted()), (doubled, w))
    item = graph.call_function(__import__("operator").getitem, (call, 0))
    result = graph.call_function(torch.ops.aten.add.Tensor, (item, doubled))
    for node in (x, w, doubled, item, result):
        node.meta["spec"] = torch.zeros(())
    graph.output((result, item, x))
    system = System(
        ("a", "b"), (Block("mixed", fx.GraphModule({}, graph), ("a", "b"), ("r", "i", "same")),), ("r", "i")
    )
    lifted = prune(lift_loops(system))
    verify_system(lifted)
    assert [type(equation) for equation in lifted.equations] == [Block, Repeat, Block]
    values = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
    assert evaluate(lifted, values) == evaluate(system, values) == (torch.tensor(22.0), torch.tensor(20.0))
