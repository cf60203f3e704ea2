"""A recorded graph while its loops that stop on a value are folded, and one step while it is written."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Lag, Repeat, Until
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.loops.stopping.building import Building
from fxsolve.loops.stopping.find import find_stops
from fxsolve.loops.stopping.folding import Folding
from fxsolve.loops.stopping.one import StopFold
from fxsolve.loops.stopping.results import Result, Stack
from fxsolve.structure.slots import Value
from fxsolve.torch_compat.graphs import Graph
from tests.ir.test_until import STOPS, halving
from tests.loops.test_stopping import found, recorded, settling


def folding() -> Folding:
    program = recorded(settling)
    graph = Graph.copy_of(program.module.graph)
    return Folding(program, graph, read_calls(graph), (), [])


def test_loops_of_equal_steps_are_one_object_that_knows_both_numbers_of_steps() -> None:
    (repeat,) = halving(STOPS).repeats
    one = folding()
    first = one.share(repeat)
    second = one.share(replace(repeat, name="other", length=12, until=replace(STOPS, least=1)))
    assert first is second
    assert isinstance(first.repeat.until, Until)
    assert (first.repeat.name, first.repeat.until.least, first.repeat.length) == ("halve", 1, 12)


def test_loops_of_other_steps_are_not() -> None:
    (repeat,) = halving(STOPS).repeats
    one = folding()
    assert one.share(repeat) is not one.share(replace(repeat, until=replace(STOPS, stops=False)))


def built(*results: Result | Stack) -> tuple[bool, Building]:
    calls, stops = found(recorded(settling))
    (stop,) = stops.found
    building = Building(calls, stop, OpenRepeat("loop", stop.window.trips, "", Graph()))
    return building.build(results), building


def place_of(target: Any) -> int:
    calls, stops = found(recorded(settling))
    (stop,) = stops.found
    places = range(stop.window.start, stop.window.start + stop.window.period)
    return next(k - stop.window.start for k in places if calls.nodes[k].target is target)


NEW = place_of(torch.ops.aten.add.Tensor)


def test_what_the_last_step_gives_has_a_value_where_no_step_runs() -> None:
    may_be_none, building = built(Result(NEW, -1, 0))
    assert may_be_none
    assert [type(read) for read in building.opened.reads.values()].count(Lag) == 1


def test_a_stack_has_none() -> None:
    may_be_none, building = built(Stack(NEW, -1))
    assert not may_be_none
    assert len(building.opened.steps) == 1


def test_what_is_the_same_in_every_step_is_read_and_not_computed() -> None:
    _, building = built(Result(NEW, -1, 0))
    (place,) = building.invariant
    square = building.loop.window.start + place
    one, other = building.calls.arguments(square)
    assert one == other
    assert Value(square, -1) in building.given.values()
    assert all(node.args[0] is not node.args[1] for node in building.opened.computed() if len(node.args) == 2)


def test_one_loop_becomes_one_call_that_gives_what_is_read_behind_it() -> None:
    program = recorded(settling)
    graph = Graph.copy_of(program.module.graph)
    calls = read_calls(graph)
    outputs: Any = graph.output_node().args[0]
    _, stops = found(program)
    (stop,) = find_stops(program, calls, outputs[len(program.example.outputs) :]).found
    assert stops.found == (stop,)
    one = StopFold(Folding(program, graph, calls, (), []), stop, "line 3")
    one.plan()
    assert not any(isinstance(node.target, Nested) for node in graph.nodes)  # nothing is written before
    one.write()
    (loop,) = [node.target for node in graph.nodes if isinstance(node.target, Nested)]
    assert isinstance(loop.repeat, Repeat)
    assert one.guards == stop.guards | {stop.before.number}
    graph.lint()


def test_values_of_many_steps_cannot_be_read_behind_a_loop() -> None:
    with pytest.raises(PartitionError, match="nothing shows what is read behind it"):
        built(Result(NEW, -1, 5))
