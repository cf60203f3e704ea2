"""Rolling: which windows are loops, how they are peeled, and that it is fast."""

import time

import torch
from torch import fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.rolling.roll import Rolling, roll
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.structure.slots import Internal, Irregular, SameValue, Varying

aten = torch.ops.aten
SPEC = TensorSpec((2, 3), (3, 1), torch.float32, torch.device("cpu"))


class Writer:
    """Writes a graph call by call."""

    def __init__(self, inputs: int) -> None:
        self.graph = fx.Graph()
        self.inputs = [self.graph.placeholder(f"input_{k}") for k in range(inputs)]
        for node in self.inputs:
            node.meta["spec"] = SPEC

    def call(self, target: object, *args: object) -> fx.Node:
        node = self.graph.call_function(target, args)  # pyright: ignore[reportArgumentType]
        node.meta.update(spec=SPEC, source="model.py:7")
        return node

    def rolled(self, *outputs: fx.Node) -> Rolling:
        self.graph.output(tuple(outputs))
        return roll(read_calls(self.graph))


def chain(writer: Writer, state: fx.Node, trips: int, extra: fx.Node | None = None) -> fx.Node:
    for _ in range(trips):
        added = writer.call(aten.add.Tensor, state, extra or writer.inputs[0])
        state = writer.call(aten.tanh.default, writer.call(aten.sin.default, added))
    return state


def test_a_chain_is_one_loop_with_a_carry_and_an_invariant() -> None:
    writer = Writer(2)
    (loop,) = writer.rolled(chain(writer, writer.inputs[1], 5)).loops
    assert (loop.window.period, loop.window.trips) == (3, 5)
    kinds = [type(slot) for slot in loop.slots]
    assert kinds == [Internal, SameValue, Internal, Internal]
    assert [slot.lag for slot in loop.slots if isinstance(slot, Internal)] == [1, 0, 0]


def test_different_inputs_at_each_step_vary() -> None:
    writer = Writer(6)
    state = writer.inputs[5]
    for k in range(5):
        state = chain(writer, state, 1, writer.inputs[k])
    (loop,) = writer.rolled(state).loops
    assert next(slot for slot in loop.slots if isinstance(slot, Varying)).values[0].call == -1
    assert loop.window.trips == 5


def test_two_trips_are_no_loop() -> None:
    writer = Writer(2)
    assert writer.rolled(chain(writer, writer.inputs[1], 2)) == Rolling((), ())


def test_the_numbers_of_every_step_are_kept() -> None:
    writer = Writer(1)
    state = writer.inputs[0]
    for t in range(6):
        state = writer.call(aten.add.Tensor, writer.call(aten.mul.Tensor, state, 0.5 * t), t)
    (loop,) = writer.rolled(state).loops
    assert loop.numbers == tuple((0.5 * t, t) for t in range(6))


def test_a_first_step_that_reads_something_else_is_peeled() -> None:
    """The carry of two slots starts from one value in one slot only."""
    writer = Writer(2)
    x, state = writer.inputs
    states = [state]
    for t in range(6):
        before = states[-1] if t else x
        added = writer.call(aten.add.Tensor, before, states[0] if t == 0 else states[-1])
        states.append(writer.call(aten.tanh.default, added))
    (loop,) = writer.rolled(states[-1]).loops
    assert loop.window.trips in (5, 6)
    assert not any(isinstance(slot, Irregular) for slot in loop.slots)


def test_a_run_that_no_rule_describes_is_noted() -> None:
    writer = Writer(2)
    states = [writer.inputs[1]]
    for t in range(9):
        added = writer.call(aten.add.Tensor, states[-1], states[(t * t) % 5 % (t + 1)])
        states.append(writer.call(aten.tanh.default, added))
    rolling = writer.rolled(states[-1])
    assert rolling.loops == ()
    (note,) = rolling.notes
    assert note.startswith("9 equal steps at model.py:7 were not rolled: an argument of aten.add.Tensor")


def test_calls_of_other_shapes_or_dtypes_are_other_labels() -> None:
    writer = Writer(1)
    state = writer.inputs[0]
    for t in range(6):
        state = writer.call(aten.tanh.default, state)
        state.meta["spec"] = SPEC._replace(shape=(2, 3 + t))
    assert writer.rolled(state) == Rolling((), ())


def test_seventy_thousand_calls_are_rolled_in_far_less_than_a_second() -> None:
    writer = Writer(2)
    state = writer.inputs[1]
    for t in range(4120):
        x = writer.call(aten.select.int, writer.inputs[0], 0, t)
        read = [writer.call(aten.add.Tensor, x, state) for _ in range(4)]
        gates = [writer.call(aten.sigmoid.default, value) for value in read]
        mixed = [writer.call(aten.mul.Tensor, gate, state) for gate in gates]
        new = writer.call(aten.tanh.default, writer.call(aten.add.Tensor, mixed[0], mixed[1]))
        state = writer.call(aten.add.Tensor, writer.call(aten.mul.Tensor, new, mixed[2]), mixed[3])
    writer.graph.output((state,))
    calls = read_calls(writer.graph)
    assert len(calls.nodes) >= 70_000
    start = time.process_time()
    (loop,) = roll(calls).loops
    seconds = time.process_time() - start
    assert loop.window.trips == 4120
    assert seconds < 3.0  # 0.4 s alone; generous, for busy machines
