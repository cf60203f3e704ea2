"""The law of the partition: the equations are well formed, and evaluating them is the recorded run, bit for bit."""

import pytest
import torch
from torch import Tensor

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import (
    AllSteps,
    Block,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
)
from fxsolve.ir.verify import verify_system
from fxsolve.stages import capture, partition
from tests.loops import programs
from tests.loops.programs import SAMPLES, B, N, Sample, T, given_values, numbers


def system_of(sample: Sample) -> System:
    return partition(sample.captured()).system


def recurrence(system: System) -> Repeat:
    (found,) = [repeat for repeat in system.repeats if has_carry(repeat)]
    return found


def reads_of(sample: Sample, kind: type) -> list:
    return [read for read in recurrence(system_of(sample)).reads if isinstance(read, kind)]


def assert_equal_to_recorded(program: Program, system: System) -> None:
    verify_system(system)
    with torch.no_grad():
        outputs = evaluate(system, given_values(program))
    for output, expected in zip(outputs[: len(program.example.outputs)], program.example.outputs, strict=True):
        assert same_bits(output, expected)
        assert output.stride() == expected.stride()


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_the_system_is_the_program_bit_for_bit_and_its_loops_are_found(sample: Sample) -> None:
    program = sample.captured()
    found = partition(program)
    assert_equal_to_recorded(program, found.system)
    carried = tuple(sorted(repeat.length for repeat in found.system.repeats if has_carry(repeat)))
    assert carried == sample.recurrences
    assert found.notes == ()


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 50])
def test_every_trip_count_is_right_and_three_trips_are_rolled(length: int) -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        return h

    captured = capture(program, numbers(length, B, N))
    system = partition(captured).system
    assert_equal_to_recorded(captured, system)
    assert [repeat.length for repeat in system.repeats] == ([length] if length >= 3 else [])


def test_irregular_steps_are_not_rolled_and_the_note_names_the_line() -> None:
    def program(x: Tensor) -> Tensor:
        states = [x[0]]
        for t in range(1, 12):
            states.append(torch.tanh(states[(t * t) % 5 % t] * 0.5 + x[t]))
        return torch.stack(states)

    captured = capture(program, numbers(12, B, N))
    found = partition(captured)
    assert_equal_to_recorded(captured, found.system)
    assert not any(map(has_carry, found.system.repeats))
    (note,) = found.notes
    assert "equal steps at" in note
    assert "test_partition.py" in note
    assert "is read by another rule from step" in note


# What the slots become.


def test_a_state_is_a_lag_with_its_initial_value() -> None:
    system = system_of(programs.gru)
    (lag,) = [read for read in recurrence(system).reads if isinstance(read, Lag)]
    assert lag.distance == 1
    (block,) = [equation for equation in system.equations if lag.initial[0] in getattr(equation, "outputs", ())]
    assert isinstance(block, Block)


def test_a_state_read_two_steps_later_is_a_chain_of_two_lags() -> None:
    lags = reads_of(programs.fibonacci, Lag)
    assert [lag.distance for lag in lags] == [1, 1]
    assert len({lag.output for lag in lags}) == 2


def test_states_that_are_passed_on_are_chains_of_lags() -> None:
    assert [lag.distance for lag in reads_of(programs.third_order, Lag)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("sample", "dim", "index"),
    [
        (programs.stacked_last, 1, tuple(range(T))),
        (programs.reversed_time, 0, tuple(range(T))[::-1]),
        (programs.with_initial, 0, tuple(range(T))),
        (programs.permuted_reads, 0, (3, 0, 5, 1, 6, 2, 4)),
    ],
    ids=str,
)
def test_an_input_read_step_by_step_is_slices(sample: Sample, dim: int, index: tuple[int, ...]) -> None:
    slices = [
        read for repeat in system_of(sample).repeats for read in repeat.reads
        if isinstance(read, Slices) and read.source == "input_0"
    ]  # fmt: skip
    assert Slices("input_0", dim, index) in slices


def test_parameters_of_layers_are_stacked() -> None:
    stacked = reads_of(programs.layers, Stacked)
    assert [len(read.sources) for read in stacked] == [T, T]


def test_a_parameter_used_at_every_step_is_invariant() -> None:
    invariant = {read.source for repeat in system_of(programs.gru).repeats for read in repeat.reads
                 if isinstance(read, Invariant)}  # fmt: skip
    assert {"keep_bias", "read_bias"} <= invariant


def test_numbers_that_change_are_tables() -> None:
    tables = [read.values for repeat in system_of(programs.time_as_number).repeats for read in repeat.reads
              if isinstance(read, Table)]  # fmt: skip
    assert tuple(range(T)) in tables
    assert tuple(t * 0.1 for t in range(T)) in tables


@pytest.mark.parametrize(
    ("sample", "dim"),
    [(programs.columns_written, 1), (programs.rows_written, 0), (programs.slices_written, 1)],
    ids=str,
)
def test_a_buffer_written_entry_by_entry_and_read_whole_is_a_prefix(sample: Sample, dim: int) -> None:
    repeat = recurrence(system_of(sample))
    (prefix,) = [read for read in repeat.reads if isinstance(read, Prefix)]
    assert (prefix.dim, prefix.index) == (dim, tuple(range(T)))
    assert [type(write) for write in repeat.writes] == [FinalBuffer]


def test_a_buffer_that_is_only_written_is_filled_from_a_stack_behind_the_loop() -> None:
    system = system_of(programs.pure_output_buffer)
    repeat = recurrence(system)
    assert not any(isinstance(read, Prefix) for read in repeat.reads)
    assert [type(write) for write in repeat.writes] == [AllSteps, LastStep]
    assert system.equations[-1].name == "loop0_filled"


def test_a_loop_without_per_step_input_reads_its_own_state_alone() -> None:
    kinds = {type(read) for read in recurrence(system_of(programs.fixed_point_loop)).reads}
    assert kinds == {Lag, Invariant}


# Which results are kept.


def test_only_what_is_read_is_written() -> None:
    writes = {sample.name: [type(write) for write in recurrence(system_of(sample)).writes]
              for sample in (programs.layers, programs.gru, programs.third_order)}  # fmt: skip
    assert writes["layers"] == [LastStep]
    assert writes["gru"] == [AllSteps]
    # Three steps of one output are wanted: they are picked from the stack.
    assert writes["third_order"] == [AllSteps]


def test_work_that_nothing_reads_is_dropped() -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for x_t in x:
            h = torch.tanh(h + x_t)
            torch.exp(h).sum()
        return h

    system = partition(capture(program, numbers(T, B, N))).system
    targets = [str(node.target) for equation in system.equations for node in equation.body.graph.nodes]
    assert "aten.tanh.default" in targets
    assert "aten.exp.default" not in targets


def test_work_of_all_steps_on_inputs_alone_is_split_from_the_recurrence() -> None:
    system = system_of(programs.gru)
    assert [(repeat.name, has_carry(repeat)) for repeat in system.repeats] == [("loop0_inputs", False), ("loop0", True)]
    body = [node.target for node in recurrence(system).body.graph.nodes]
    assert body.count(torch.ops.aten.addmm.default) == 1


def test_work_on_states_that_feeds_no_later_step_is_split_from_the_recurrence() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        h, outputs = torch.zeros(B, N), []
        for x_t in x:
            h = torch.tanh(h + x_t)
            outputs.append(torch.sigmoid(h @ w))
        return torch.stack(outputs)

    captured = capture(program, numbers(T, B, N), numbers(N, N))
    system = partition(captured).system
    assert_equal_to_recorded(captured, system)
    assert [(repeat.name, has_carry(repeat)) for repeat in system.repeats] == [
        ("loop0", True),
        ("loop0_outputs", False),
    ]


def test_work_on_the_last_state_alone_becomes_a_block() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for x_t in x:
            h = torch.tanh(h + x_t)
            y = torch.sigmoid(h @ w)
        return y  # pyright: ignore[reportPossiblyUnboundVariable]

    captured = capture(program, numbers(T, B, N), numbers(N, N))
    system = partition(captured).system
    assert_equal_to_recorded(captured, system)
    assert [equation.name for equation in system.equations] == ["block0", "loop0", "loop0_last"]


def test_work_that_is_the_same_at_every_step_is_done_once() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for x_t in x:
            h = torch.tanh(h @ torch.exp(w) + x_t)
        return h

    captured = capture(program, numbers(T, B, N), numbers(N, N))
    system = partition(captured).system
    assert_equal_to_recorded(captured, system)
    (shared,) = [equation for equation in system.equations if equation.name == "loop0_shared"]
    assert isinstance(shared, Block)
    assert "aten.exp.default" in [str(node.target) for node in shared.body.graph.nodes]
    assert "aten.exp.default" not in [str(node.target) for node in recurrence(system).body.graph.nodes]


def test_the_source_of_a_loop_is_the_users_line() -> None:
    (repeat,) = system_of(programs.fixed_point_loop).repeats
    assert "programs.py:" in repeat.source
