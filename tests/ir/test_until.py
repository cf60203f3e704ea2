"""Repeats that stop on a value: what they compute, their laws, and their texts."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.bodies import close_repeat, open_repeat
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import (
    AllSteps,
    Count,
    Invariant,
    Lag,
    LastStep,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
    numbers_written,
)
from fxsolve.ir.text import system_text
from fxsolve.ir.until import Along, Until
from fxsolve.ir.verify import verify_system
from fxsolve.plan.legalize import legalize_unproved
from fxsolve.plan.method import Steps
from fxsolve.plan.methods.stopping import While
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.verify import verify_schedule


def halve(x: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    return x / 2, x / 2 < bound


def halving(until: Until) -> System:
    """x -> x / 2 until x < bound."""
    reads = (Lag(0, ("x",)), Invariant("bound"))
    repeat = Repeat("halve", fx.symbolic_trace(halve), 9, reads, (LastStep("y", 0),), until=until)
    return System(("x", "bound", "done"), (repeat,), ("y",))


STOPS = Until(1, True, "done", least=2)


@pytest.mark.parametrize(("start", "steps"), [(0.5, 0), (1.0, 1), (5.0, 3), (1e6, 20)])
def test_steps_run_until_one_stops_them_however_many_were_recorded(start: float, steps: int) -> None:
    system, x, bound = halving(STOPS), torch.tensor(start), torch.tensor(1.0)
    verify_system(system)
    (found,) = evaluate(system, {"x": x, "bound": bound, "done": x < bound})
    assert found == start / 2**steps


def test_without_a_value_before_the_first_step_one_runs() -> None:
    given = {"x": torch.tensor(0.5), "bound": torch.tensor(1.0), "done": torch.tensor(True)}
    assert evaluate(halving(replace(STOPS, before="")), given)[0] == 0.25


def test_an_opened_and_closed_repeat_stops_as_before() -> None:
    system = halving(replace(STOPS, checks=((1, False),)))
    (repeat,) = system.repeats
    closed = close_repeat(open_repeat(repeat))
    assert closed.until == repeat.until
    assert closed.reads == repeat.reads


@pytest.mark.parametrize(
    ("until", "message"),
    [
        (replace(STOPS, output=2), "stops by output 2 of 2"),
        (replace(STOPS, checks=((5, True),)), "stops by output 5 of 2"),
        (replace(STOPS, least=10), "takes 10 to 9 steps"),
        (replace(STOPS, before="nowhere"), "reads nowhere before it is written"),
    ],
)
def test_broken_laws_are_named(until: Until, message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        verify_system(halving(until))


def test_a_stack_needs_a_step() -> None:
    (repeat,) = halving(STOPS).repeats
    stacked = replace(repeat, writes=(AllSteps("y", 0),))
    with pytest.raises(PartitionError, match="may run no step, and has no value for y then"):
        verify_system(System(("x", "bound", "done"), (stacked,), ("y",)))


def back(**changes: object) -> System:
    """The sum of 2^-k x_k over the steps of a loop, from the last one on, without the first."""
    (repeat,) = halving(replace(STOPS, before="")).repeats
    loop = replace(repeat, writes=(AllSteps("all", 0),))
    body = fx.symbolic_trace(lambda total, x: (total / 2 + x,))
    reads = (Lag(0, ("zero",)), Slices("all", 0, tuple(range(8, 0, -1))))
    along = Repeat("back", body, 8, reads, (LastStep("sum", 0),), until=Along(9, 1, "all"))
    return System(("x", "bound", "zero"), (loop, replace(along, **changes)), ("sum",))


@pytest.mark.parametrize("steps", [1, 2, 9, 15])
def test_steps_along_a_stack_are_as_many_as_it_has_entries(steps: int) -> None:
    verify_system(back())
    given = {"x": torch.tensor(0.75 * 2**steps), "bound": torch.tensor(1.0), "zero": torch.tensor(0.0)}
    wanted = torch.tensor(0.0)
    for k in range(steps - 1):
        wanted = wanted / 2 + 0.75 * 2**k
    assert evaluate(back(), given) == (wanted,)


@pytest.mark.parametrize("steps", [1, 2, 9, 15])
def test_evenly_spaced_numbers_are_those_of_the_steps_along_which_they_run(steps: int) -> None:
    """Step k of the loop has number 10 + k: recorded from 18 down to 11, along 9 steps, without the first."""
    body = fx.symbolic_trace(lambda total, number: (total * 2 + number,))
    system = back(body=body, reads=(Lag(0, ("zero",)), Table(tuple(range(18, 10, -1)))))
    verify_system(system)
    given = {"x": torch.tensor(0.75 * 2**steps), "bound": torch.tensor(1.0), "zero": torch.tensor(0.0)}
    wanted = 0.0
    for k in range(steps - 1, 0, -1):
        wanted = wanted * 2 + 10 + k
    assert evaluate(system, given) == (torch.tensor(wanted),)


def test_a_number_may_be_what_the_last_step_gives() -> None:
    """It is that of the last step, and a number of Python."""
    body = fx.symbolic_trace(lambda x, bound, number: (x / 2, x / 2 < bound, number))
    (repeat,) = halving(replace(STOPS, before="")).repeats
    reads = (*repeat.reads, Table(tuple(k / 4 for k in range(9))))
    loop = replace(repeat, body=body, reads=reads, writes=(LastStep("y", 0), LastStep("number", 2)))
    assert numbers_written(loop) == ("number",)
    system = System(("x", "bound"), (loop,), ("number",))
    verify_system(system)
    assert evaluate(system, {"x": torch.tensor(5.0), "bound": torch.tensor(1.0)}) == (0.5,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reads": (Lag(0, ("zero",)), Slices("all", 0, tuple(range(1, 9))))}, "in another order than from the end"),
        ({"until": Along(9, 0, "all")}, "in another order than from the end"),
        ({"reads": (Lag(0, ("zero",)), Stacked(("x",) * 8))}, "reads other things of each step"),
        ({"until": Along(9, 1, "nowhere")}, "reads nowhere before it is written"),
        ({"writes": (AllSteps("sum", 0),)}, "only the last ones have a known size"),
    ],
)
def test_broken_laws_of_steps_along_a_stack_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        verify_system(back(**changes))


def test_the_text_says_that_a_stack_may_have_any_size() -> None:
    assert "along all, of any size, 1 entries left" in system_text(back())


def test_what_has_no_value_before_the_first_step_needs_one_step() -> None:
    (repeat,) = halving(STOPS).repeats
    other = replace(repeat, writes=(LastStep("y", 1),))
    with pytest.raises(PartitionError, match="may run no step, and has no value for y then"):
        verify_system(System(("x", "bound", "done"), (other,), ("y",)))


def test_the_text_says_what_stops_it() -> None:
    assert "until output 1 is True, or done is before the first, 2 steps or more" in system_text(halving(STOPS))


@pytest.mark.parametrize("text", ["gs", "while(halve)", "jacobi", "newton"])
def test_it_is_scheduled_in_order_only(text: str) -> None:
    schedule = parse_schedule(text, halving(STOPS))
    verify_schedule(schedule, halving(STOPS))
    assert "while(halve)" in str(schedule)
    assert parse_schedule(str(schedule), halving(STOPS)) == schedule


def test_steps_ahead_are_written_and_read() -> None:
    schedule = parse_schedule("while(halve, ahead=4)", halving(STOPS))
    assert schedule == While(Steps("halve", 0, 9), 4)
    assert str(schedule) == "while(halve, ahead=4)"
    with pytest.raises(ScheduleError, match="expected at least one step, found 0"):
        parse_schedule("while(halve, ahead=0)", halving(STOPS))


@pytest.mark.parametrize(
    ("backend", "reason"),
    [("eager", "the backend eager compiles no steps"), ("inductor", "its steps read numbers")],
)
def test_steps_that_cannot_look_ahead_run_one_by_one(backend: str, reason: str) -> None:
    """These have no types, as the system was written by hand."""
    system = halving(STOPS)
    decision = legalize_unproved(system, parse_schedule("while(halve, ahead=4)", system), {}, backend)
    assert str(decision.schedule) == "while(halve)"
    assert decision.notes[0].startswith(f"halve runs in order: no step is computed ahead: {reason}")


def test_other_schedules_of_it_are_refused() -> None:
    with pytest.raises(ScheduleError, match=r"its steps run as while\(halve\) only"):
        verify_schedule(parse_schedule("jacobi(halve[0:9])", halving(STOPS)), halving(STOPS))


def test_while_is_for_such_repeats_only() -> None:
    (repeat,) = halving(STOPS).repeats
    plain = System(("x", "bound"), (replace(repeat, until=None),), ("y",))
    with pytest.raises(ScheduleError, match="halve stops on no value"):
        verify_schedule(parse_schedule("while(halve)", plain), plain)


def test_a_leaf_names_all_of_it() -> None:
    assert parse_schedule("while(halve)", halving(STOPS)) == While(Steps("halve", 0, 9))


def test_a_count_is_a_number_of_python() -> None:
    (repeat,) = halving(STOPS).repeats
    counting = replace(repeat, writes=(*repeat.writes, Count("n", 1, 10, -2)))
    system = System(("x", "bound", "done"), (counting,), ("y", "n"))
    verify_system(system)
    x, bound = torch.tensor(5.0), torch.tensor(1.0)
    found = evaluate(system, {"x": x, "bound": bound, "done": x < bound})
    assert found == (torch.tensor(0.625), 4)
    (closed,) = (close_repeat(open_repeat(counting)),)
    assert closed.writes == counting.writes


def test_only_what_stops_on_a_value_is_counted() -> None:
    (repeat,) = halving(STOPS).repeats
    plain = replace(repeat, until=None, writes=(Count("n", 1, 0, 1),))
    with pytest.raises(PartitionError, match="they are always as many"):
        verify_system(System(("x", "bound", "done"), (plain,), ("n",)))
