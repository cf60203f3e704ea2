"""Loops around loops: which windows are found, and what they may not cut."""

from itertools import pairwise

import torch
from torch import Tensor, fx

from fxsolve.ir.calls import dead_views
from fxsolve.loops.nesting.outer import loops_around
from fxsolve.loops.rolling.roll import Rolled, roll
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.stages import capture
from fxsolve.structure.slots import Irregular
from tests.loops import small

LAYERS, T = 4, 9


def layered(x: Tensor) -> Tensor:
    for scale in (0.2, 0.4, 0.6, 0.8):
        h, states = torch.zeros(3), []
        for x_t in x:
            h = torch.tanh(h * scale + x_t)
            states.append(h)
        x = torch.stack(states)
    return x


def side_by_side(x: Tensor) -> Tensor:
    """Equal loops with something else between any two: no step of a loop around them."""
    h = torch.zeros(3)
    for between in (torch.sin, torch.cos, torch.exp, torch.sigmoid):
        h = between(h)
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
    return h


def longer_at_first(x: Tensor) -> Tensor:
    """A step around the inner loop fits behind the third of the twelve of its first run, but would cut it."""
    h = torch.zeros(3)
    for trips in (T + 3, T, T, T):
        for _ in range(trips):
            h = torch.tanh(h * 0.5 + x)
        h = torch.sin(h)
    return h


def found(program: object, x: Tensor) -> tuple[Calls, tuple[Rolled, ...]]:
    graph: fx.Graph = capture(program, x).module.graph  # pyright: ignore[reportArgumentType]
    calls = read_calls(graph, dead_views(graph))
    return calls, roll(calls).loops


def check(inner: tuple[Rolled, ...], loops: tuple[Rolled, ...]) -> None:
    """Each loop that was there is there still, or lies whole in one step of a loop around it; in program order."""
    assert list(loops) == sorted(loops, key=lambda loop: loop.window.start)
    for one, two in pairwise(loops):
        assert one.window.stop <= two.window.start
    for loop in set(inner) - set(loops):
        (around,) = [
            o.window for o in loops if o.window.start <= loop.window.start and loop.window.stop <= o.window.stop
        ]
        steps = [(call - around.start) // around.period for call in (loop.window.start, loop.window.stop - 1)]
        assert steps[0] == steps[1]
    assert not any(isinstance(slot, Irregular) for loop in set(loops) - set(inner) for slot in loop.slots)


def test_equal_loops_one_behind_the_other_are_the_steps_of_a_loop_around_them() -> None:
    calls, inner = found(layered, small.numbers(T, 3))
    assert [loop.window.trips for loop in inner] == [T] * LAYERS
    loops = loops_around(calls, inner, ())
    check(inner, loops)
    assert [loop.window.trips for loop in loops] == [LAYERS]


def three_deep(x: Tensor) -> Tensor:
    for scale in (0.2, 0.4, 0.6, 0.8):
        h, states = torch.zeros(3), []
        for x_t in x:
            g = torch.sin(h + x_t)
            for _ in range(15):
                g = torch.tanh(g * scale + h)
            h = torch.exp(g)
            states.append(h)
        x = torch.stack(states)
    return x


def test_loops_are_found_at_as_many_levels_as_there_are() -> None:
    calls, inner = found(three_deep, small.numbers(4, 3))
    assert len(inner) == LAYERS * 4
    loops = loops_around(calls, inner, ())
    check(inner, loops)
    assert max((loop.window.stop - loop.window.start, loop.window.trips) for loop in loops)[1] == LAYERS


def test_a_loop_around_others_cuts_none_of_them() -> None:
    calls, inner = found(longer_at_first, small.numbers(3))
    assert [loop.window.trips for loop in inner] == [T + 3] + [T] * (LAYERS - 1)
    loops = loops_around(calls, inner, ())
    check(inner, loops)
    assert [loop.window.trips for loop in loops] == [T + 3, LAYERS - 1]


def test_a_refused_window_is_not_found_again_with_some_of_its_steps_peeled_off() -> None:
    calls, inner = found(layered, small.numbers(T, 3))
    (outer,) = loops_around(calls, inner, ())
    assert loops_around(calls, inner, [outer.window]) == inner


def test_loops_with_other_calls_between_them_have_none_around_them() -> None:
    calls, inner = found(side_by_side, small.numbers(T, 3))
    assert len(inner) == 4
    assert loops_around(calls, inner, ()) == inner
