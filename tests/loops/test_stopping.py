"""Loops that stop on a value: which steps are found, what is written for them, and what two recordings tell."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.capture.capture import capture
from fxsolve.capture.program import Counted, Program
from fxsolve.ir.calls import dead_views
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Along, Count, Invariant, Lag, LastStep, Slices, Until
from fxsolve.loops.rolling.roll import roll
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.loops.stopping.backward import find_backs, unlike
from fxsolve.loops.stopping.counts import folded, join_counts
from fxsolve.loops.stopping.end_numbers import end_numbers
from fxsolve.loops.stopping.find import Stops, find_stops
from fxsolve.loops.stopping.fold import fold_stops
from fxsolve.loops.stopping.invariant import invariant_calls
from fxsolve.loops.stopping.origins import NOWHERE, origins_of
from fxsolve.loops.stopping.results import Result
from fxsolve.loops.stopping.step import build_stop
from fxsolve.structure.slots import Value

U = torch.tensor([0.3, -0.2, 0.9])


def settling(u: Tensor) -> Tensor:
    """The square of u is the same in every step."""
    z = torch.zeros_like(u)
    for _ in range(100):
        new = 0.5 * z + u * u
        if (new - z).abs().max() < 1e-3:
            break
        z = new
    return new


def walking(u: Tensor) -> Tensor:
    x = u
    while x.abs().max() > 0.1:
        x = 0.7 * x + 0.001 * torch.randn(3)
    return x


def counting(u: Tensor) -> Tensor:
    """Nothing of its reads depends on a tensor that it is given."""
    k, x = torch.tensor(0), u
    while k < 6:
        k, x = k + 1, x * 0.5 + 1
    return x


def counted(u: Tensor) -> tuple[Tensor, int]:
    z, k = u, 0
    while z.norm() > 0.1:
        z, k = torch.tanh(0.6 * z), k + 1
    return z * k, k


def recorded(program: Callable[..., Any], u: Tensor = U) -> Program:
    with torch.no_grad():
        return capture(program, (u,), {})


def found(program: Program) -> tuple[Calls, Stops]:
    graph = program.module.graph
    calls = read_calls(graph, dead_views(graph))
    outputs: Any = graph.output_node().args[0]
    return calls, find_stops(program, calls, outputs[len(program.example.outputs) :])


def loops_of(program: Program) -> list[Nested]:
    return [node.target for node in program.module.graph.nodes if isinstance(node.target, Nested)]


def test_steps_lie_between_two_reads_of_one_line() -> None:
    program = recorded(settling)
    calls, stops = found(program)
    (stop,) = stops.found
    assert stop.window.trips == len(program.guards) - 1  # what lies before the first read is no step
    assert stop.end.value is True
    assert stop.before.value is False
    assert stop.checks == ()
    first, last = (
        slice(start, start + stop.window.period) for start in (stop.window.start, stop.window.stop - stop.window.period)
    )
    assert calls.labels[first].tolist() == calls.labels[last].tolist()


def test_steps_that_draw_numbers_stay_with_a_reason() -> None:
    _, stops = found(recorded(walking))
    assert stops.found == ()
    assert "is a random draw, and how many there are depends on the value" in stops.notes[0]


def test_what_the_program_alone_decides_is_no_stop() -> None:
    _, stops = found(recorded(counting))
    assert stops == Stops((), ())


def test_what_every_step_makes_anew_of_the_same_is_invariant() -> None:
    calls, stops = found(recorded(settling))
    (stop,) = stops.found
    same = {calls.nodes[stop.window.start + k].target for k in invariant_calls(calls, stop)}
    assert same == {torch.ops.aten.mul.Tensor}
    assert len(invariant_calls(calls, stop)) == 1


def test_a_step_is_a_repeat_that_reads_the_one_before() -> None:
    calls, stops = found(recorded(settling))
    (stop,) = stops.found
    (place,) = [
        k for k in range(stop.window.period) if calls.nodes[stop.window.start + k].target is torch.ops.aten.add.Tensor
    ]
    step = build_stop(calls, stop, [Result(place, -1, 0)], 0, "loop", "line 3")
    assert [type(read) for read in step.repeat.reads].count(Lag) == 1
    assert all(isinstance(read, Lag | Invariant) for read in step.repeat.reads)
    assert [type(write) for write in step.repeat.writes] == [LastStep]
    assert isinstance(step.repeat.until, Until)
    assert step.may_be_none
    assert Value(stop.before.call, -1) in step.given.values()


@pytest.mark.parametrize("size", [0.2, 1.0, 5.0, 40.0])
def test_one_folded_recording_runs_for_other_numbers_of_steps(size: float) -> None:
    program = fold_stops(recorded(settling))
    (loop,) = loops_of(program)
    assert program.guards == ()
    assert isinstance(loop.repeat.until, Until)
    with torch.no_grad():
        (result,) = program.module(U * size)
        assert torch.equal(result, settling(U * size))


def test_a_program_without_such_loops_stays_as_it_is() -> None:
    program = recorded(lambda u: u * 2)
    assert fold_stops(program) is program
    counted_alone = recorded(counting)
    assert fold_stops(counted_alone).module is counted_alone.module


def test_the_backward_pass_runs_along_the_steps() -> None:
    """Of the tanh of every step it reads the value."""

    def program(u: Tensor) -> Tensor:
        z = torch.zeros_like(u)
        for _ in range(100):
            new = torch.tanh(0.7 * z + u)
            if (new - z).abs().max() < 1e-3:
                break
            z = new
        return new

    whole = capture(program, (U.clone().requires_grad_(),), {})
    calls, stops = found(whole)
    (stop,) = stops.found
    origins = origins_of(calls, stop.window)
    (back,) = find_backs(calls, stop, origins, invariant_calls(calls, stop), roll(calls).loops)
    assert 0 <= back.length - back.window.trips <= 4
    assert back.window.trips - len(back.covered) in (0, 1)
    # Each call of it differentiates one step; what it does not cover differentiates those at the ends alone.
    falling = origins.falling(back.window)
    assert falling is not None
    assert set(falling) <= {NOWHERE, back.covered.stop - 1, back.covered.stop}
    assert unlike(calls, origins, stop.window, (back,)) is None
    assert unlike(calls, origins, stop.window, ()) is not None
    assert "backward" in calls.nodes[back.window.start].meta
    loops = [loop.repeat for loop in loops_of(fold_stops(whole))]
    assert [type(loop.until) for loop in loops] == [Until, Along]


def decaying(u: Tensor) -> Tensor:
    """The last step reads a number that no rule gives, forward and backward."""
    x = u
    for t in range(1, 60):
        new = x - 0.5 / t**0.5 * torch.tanh(x)
        if (new - x).abs().max() < 2e-3:
            break
        x = new
    return new.sin() + x


def test_numbers_of_the_last_steps_are_read_from_the_loop() -> None:
    whole = capture(decaying, (U.clone().requires_grad_(),), {})
    calls, stops = found(whole)
    (stop,) = stops.found
    origins = origins_of(calls, stop.window)
    backs = tuple(find_backs(calls, stop, origins, invariant_calls(calls, stop), roll(calls).loops))
    numbers = end_numbers(calls, stop, origins, backs)
    assert numbers
    for (call, k), number in numbers.items():
        step = stop.window.trips - 1 - number.back
        assert calls.numbers_of(call)[k] == stop.numbers[step][number.column]


def test_a_backward_pass_that_reads_nothing_of_the_steps_counts_them() -> None:
    """Of a linear loop it saves nothing: its steps are as many as conditions were read."""

    def program(u: Tensor) -> Tensor:
        z = torch.zeros_like(u)
        while True:
            new = 0.5 * z + u
            if (new - z).abs().max() < 1e-3:
                return new
            z = new

    folded_once = fold_stops(capture(program, (U.clone().requires_grad_(),), {}))
    front, back = (loop.repeat for loop in loops_of(folded_once))
    assert isinstance(back.until, Along)
    assert not any(isinstance(read, Slices) for read in back.reads)
    cotangent = torch.ones(3)
    for size in (1.0, 8.0, 100.0):
        given = (U * size).requires_grad_()
        _, gradient, *_ = folded_once.module(given.detach(), cotangent)
        (wanted,) = torch.autograd.grad(program(given), given, cotangent)
        assert torch.equal(gradient, wanted)
    assert front.length > 6


def test_steps_whose_backward_pass_is_no_loop_stay() -> None:
    """Of three steps nothing shows that the backward pass has as many."""

    def program(u: Tensor) -> Tensor:
        x = u * 3
        while x.norm() > 0.4:
            x = 0.7 * torch.sin(x)
        return x

    whole = capture(program, (U.clone().requires_grad_(),), {})
    folded_once = fold_stops(whole)
    assert loops_of(folded_once) == []
    assert "of their backward pass is in no loop that has as many steps" in folded_once.notes[0]


def test_two_recordings_tell_what_counts_the_steps() -> None:
    one, two = (fold_stops(recorded(counted, U * size)) for size in (1.0, 3.0))
    joined = join_counts(folded(one), two)
    assert joined is not None
    steps = [program.output.constants for program in (one, two)]
    (count,) = [one for one in joined.output.constants if isinstance(one, Counted)]
    (loop,) = loops_of(joined)
    assert count.loop == loop.repeat.name
    assert count.each == 1
    assert count.first + loop.repeat.length == max(one for one in steps[1] if type(one) is int)
    assert any(isinstance(write, Count) for write in loop.repeat.writes)


def test_recordings_of_other_calls_tell_nothing() -> None:
    one, two = fold_stops(recorded(counted)), fold_stops(recorded(settling))
    assert join_counts(folded(one), two) is None
    assert join_counts(folded(one), fold_stops(recorded(counted))) is None


def test_graphs_are_left_valid() -> None:
    for program in (settling, counted):
        graph: fx.Graph = fold_stops(recorded(program)).module.graph
        graph.lint()
