"""Which values of loops are read outside of them, against the users of every call."""

import operator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.calls import dead_views, is_join
from fxsolve.ir.spec import Block
from fxsolve.loops.rolling.joins import join_steps, stack_values
from fxsolve.loops.rolling.live_out import LiveOut, LoopPlace
from fxsolve.loops.rolling.roll import roll
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.structure.slots import Value
from tests.loops import programs
from tests.loops.programs import B, N, Sample, T, given_values, numbers, sample


@sample((T,), numbers(T, B, N))
def joined_in_every_way(x: Tensor):
    """Runs of steps forwards and backwards, with values between them, pieces that are no run, and a last value."""
    h, total, states = torch.zeros(B, N), torch.zeros(B, N), []
    for x_t in x:
        h = torch.tanh(h + x_t) * 0.9
        total = total + h
        states.append(h)
    return (
        torch.stack([h.sin(), *states[4:1:-1], x[0], states[6], states[0], states[1]], -1),
        torch.cat([*states[::3], h.cos(), *states[1:]], 1),
        torch.stack([states[2], states[2], states[5]]),
        total,
    )


SAMPLES = (
    programs.strided,
    programs.with_initial,
    programs.two_layers,
    programs.several_outputs,
    programs.steps_used_again,
    joined_in_every_way,
)
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=str)


@dataclass(frozen=True)
class Rolled:
    """A recorded program, the loops in it and the value of every node."""

    calls: Calls
    wanted: LiveOut
    values: dict[fx.Node, Tensor]

    def read_outside(self, value: Value) -> set[fx.Node]:
        """The calls that read a value from outside of its loop, and the output."""
        node = self.calls.node_of(value)
        window = self.wanted.windows[self.place_of(value).loop]
        inside = set(self.calls.nodes[window.start : window.stop])
        return {user for user in node.users if user not in inside and user.target is not operator.getitem}

    def place_of(self, value: Value) -> LoopPlace:
        located = self.wanted.locate(value)
        assert located is not None
        return located[0]


class _Values(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)


def rolled(sample: Sample) -> Rolled:
    program = sample.captured()
    graph = program.module.graph
    calls = read_calls(graph, dead_views(graph))
    runner = _Values(program.module)
    given = given_values(program)
    with torch.no_grad():
        runner.run(*(given[node.name] for node in graph.find_nodes(op="placeholder")))
    return Rolled(calls, LiveOut(graph, calls, roll(calls).loops), runner.env)


def values_inside(made: Rolled) -> list[Value]:
    """Every value that a call of a loop gives and something reads."""
    inside = [value for value in made.calls.values.values() if made.wanted.locate(value) is not None]
    several = {value.call for value in inside if value.output >= 0}
    return [value for value in dict.fromkeys(inside) if value.output >= 0 or value.call not in several]


@every_sample
def test_a_value_is_found_again_at_its_place_and_step(sample: Sample) -> None:
    made = rolled(sample)
    assert values_inside(made)
    for value in values_inside(made):
        located = made.wanted.locate(value)
        assert located is not None
        assert made.wanted.value_at(*located) == value
    outside = {call for call in range(len(made.calls.nodes)) if made.wanted.locate(Value(call, -1)) is None}
    assert outside == set(made.wanted.calls_outside())
    assert made.wanted.locate(Value(-1, -1)) is None


@every_sample
def test_wanted_are_the_places_that_something_outside_reads_and_picked_the_steps_read_alone(sample: Sample) -> None:
    made = rolled(sample)
    readers = {value: made.read_outside(value) for value in values_inside(made)}
    for number, window in enumerate(made.wanted.windows):
        mine = {value: users for value, users in readers.items() if window.start <= value.call < window.stop}
        wanted = {made.place_of(value) for value, users in mine.items() if users}
        assert set(made.wanted.places(number)) == wanted
        for place in wanted:
            steps = [mine[made.wanted.value_at(place, step)] for step in range(window.trips)]
            assert made.wanted.is_stacked(place) == any(steps[:-1])
            alone = [t for t, users in enumerate(steps) if any(is_alone(made, user) for user in users)]
            assert made.wanted.picked(place) == (alone if any(steps[:-1]) else [])


def is_alone(made: Rolled, user: fx.Node) -> bool:
    """Whether a call outside of the loop reads single steps; another loop reads all of them as one stack."""
    return not is_join(user) and (user.op == "output" or made.wanted.locate(made.calls.values[user]) is None)


def run(made: Rolled, block: Block) -> tuple[Tensor, ...]:
    """A block that reads values and stacks of values by name."""
    known = {node.name: value for node, value in made.values.items() if isinstance(value, Tensor)}
    for number, window in enumerate(made.wanted.windows):
        for place in made.wanted.places(number):
            steps = [made.wanted.value_at(place, t) for t in range(window.trips)]
            known[made.wanted.stack_name(place)] = torch.stack([made.values[made.calls.node_of(v)] for v in steps])
    return block.body(*(known[name] for name in block.inputs))


@every_sample
def test_a_join_of_steps_is_the_one_recorded_and_lies_in_order(sample: Sample) -> None:
    made = rolled(sample)
    for call in made.wanted.calls_outside():
        builder, node = BlockBuilder("joined"), made.calls.nodes[call]
        result = join_steps(made.wanted, builder, call)
        reads_steps = any(made.wanted.locate(value) for value in made.calls.arguments(call))
        assert (result is not None) == (is_join(node) and reads_steps)
        if result is not None:
            builder.outputs["joined"] = result
            (joined,) = run(made, *builder.build())
            assert torch.equal(joined, made.values[node])
            assert joined.is_contiguous()


@every_sample
def test_stacked_values_are_the_values_one_by_one(sample: Sample) -> None:
    made = rolled(sample)
    place = next(place for place in made.wanted.places(0) if made.wanted.is_stacked(place))
    steps = [5, 3, 1, 2, 2, 6]
    values = [made.wanted.value_at(place, step) for step in steps]
    builder = BlockBuilder("stacked")
    builder.outputs["stacked"] = stack_values(made.wanted, builder, values)
    (stacked,) = run(made, *builder.build())
    assert torch.equal(stacked, torch.stack([made.values[made.calls.node_of(value)] for value in values]))
