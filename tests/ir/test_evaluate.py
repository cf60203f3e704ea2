"""The reference evaluator against loops written out, and against systems without repeats."""

import torch
from hypothesis import given, settings
from torch import Tensor, fx

from fxsolve.ir.evaluate import evaluate
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
from tests.ir.samples import inputs, systems


def test_a_recurrence_equals_its_loop() -> None:
    def step(h: Tensor, before: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor]:
        return (torch.tanh(h @ w + before + x),)

    x, w = torch.randn(7, 2, 3), torch.randn(3, 3)
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    reads = (Lag(0, ("b",)), Lag(0, ("a", "b")), Slices("x", 0, tuple(range(7))), Invariant("w"))
    cell = Repeat("cell", fx.symbolic_trace(step), 7, reads, (AllSteps("hs", 0), LastStep("h", 0)))
    system = System(("x", "w", "a", "b"), (cell,), ("h", "hs"))
    older, h, stack = a, b, []
    for entry in x:
        older, h = h, torch.tanh(h @ w + older + entry)
        stack.append(h)
    last, all_steps = evaluate(system, {"x": x, "w": w, "a": a, "b": b})
    assert torch.equal(last, h)
    assert torch.equal(all_steps, torch.stack(stack))


def test_a_buffer_is_read_as_the_steps_before_have_left_it() -> None:
    def step(buffer: Tensor, column: int) -> tuple[Tensor, Tensor]:
        return buffer.sum(1) * column, buffer.sum(1)

    order = (3, 0, 2)
    reads = (Prefix(0, "start", 1, order), Table(order))
    cell = Repeat("cell", fx.symbolic_trace(step), 3, reads, (FinalBuffer("final", 0), AllSteps("sums", 1)))
    start = torch.arange(8).reshape(2, 4)
    buffer, sums = start.clone(), []
    for column in order:
        sums.append(buffer.sum(1))
        buffer[:, column] = buffer.sum(1) * column
    results = evaluate(System(("start",), (cell,), ("final", "sums")), {"start": start})
    assert torch.equal(results[0], buffer)
    assert torch.equal(results[1], torch.stack(sums))
    assert start.tolist() == torch.arange(8).reshape(2, 4).tolist()


def test_layers_of_different_weights_between_blocks_equal_their_chain() -> None:
    weights = {f"w{k}": torch.randn(3, 3) for k in range(4)}

    def double(x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x, x - 1

    def layer(h: Tensor, w: Tensor) -> tuple[Tensor]:
        return (torch.relu(h @ w),)

    first = Block("first", fx.symbolic_trace(double), ("x",), ("y", "z"))
    reads = (Lag(0, ("y",)), Stacked(tuple(weights)))
    layers = Repeat("layers", fx.symbolic_trace(layer), 4, reads, (LastStep("h", 0),))
    last = Block("last", fx.symbolic_trace(lambda h, z: (h + z,)), ("h", "z"), ("out",))
    x = torch.randn(3)
    (out,) = evaluate(System(("x", *weights), (first, layers, last), ("out",)), {"x": x, **weights})
    h = 2 * x
    for w in weights.values():
        h = torch.relu(h @ w)
    assert torch.equal(out, h + x - 1)


@settings(max_examples=50, deadline=None)
@given(systems())
def test_a_repeat_equals_its_steps_written_out_as_blocks(system: System) -> None:
    values = inputs()
    expected = evaluate(unrolled(system), values)
    for result, wanted in zip(evaluate(system, values), expected, strict=True):
        assert torch.equal(result, wanted)


def unrolled(system: System) -> System:
    """The same system without repeats: one block for each step, one for each write of a buffer."""
    equations = []
    for equation in system.equations:
        equations += [equation] if isinstance(equation, Block) else _blocks(equation)
    return System(system.inputs, tuple(equations), system.outputs)


def _blocks(repeat: Repeat) -> list[Block]:
    blocks: list[Block] = []
    buffers = {number: read.initial for number, read in enumerate(repeat.reads) if isinstance(read, Prefix)}
    outputs = list(repeat.body.graph.output_node().args[0])

    def block(name: str, function: object, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
        blocks.append(Block(name, function, reads, writes))

    for t in range(repeat.length):
        reads, numbers = [], {}
        for number, read in enumerate(repeat.reads):
            match read:
                case Invariant(source):
                    reads.append(source)
                case Stacked(sources):
                    reads.append(sources[t])
                case Slices(source, dim, index):
                    name = f"{repeat.name}.{number}.{t}"
                    block(name, lambda m, d=dim, i=index[t]: (m.select(d, i),), (source,), (name,))
                    reads.append(name)
                case Table(values):
                    numbers[number] = values[t]
                case Lag(output, initial):
                    chain = [*initial, *(f"{repeat.name}.o{output}.{s}" for s in range(repeat.length))]
                    reads.append(chain[t])
                case Prefix():
                    reads.append(buffers[number])
        writes = tuple(f"{repeat.name}.o{output}.{t}" for output in range(len(outputs)))
        block(f"{repeat.name}.{t}", _with_numbers(repeat.body, numbers), tuple(reads), writes)
        for number, read in enumerate(repeat.reads):
            if isinstance(read, Prefix):
                name = f"{repeat.name}.b{number}.{t}"
                block(name, _put(read.dim, read.index[t]), (buffers[number], writes[read.output]), (name,))
                buffers[number] = name
    for write in repeat.writes:
        match write:
            case AllSteps(name, output):
                steps = tuple(f"{repeat.name}.o{output}.{t}" for t in range(repeat.length))
                block(name, lambda *values: (torch.stack(values),), steps, (name,))
            case LastStep(name, output):
                block(name, lambda value: (value,), (f"{repeat.name}.o{output}.{repeat.length - 1}",), (name,))
            case FinalBuffer(name, number):
                block(name, lambda value: (value,), (buffers[number],), (name,))
    return blocks


def _with_numbers(body: fx.GraphModule, numbers: dict[int, int | float]) -> object:
    def call(*values: Tensor) -> tuple[Tensor, ...]:
        arguments = list(values)
        for position in sorted(numbers):
            arguments.insert(position, numbers[position])
        return body(*arguments)

    return call


def _put(dim: int, index: int) -> object:
    def call(buffer: Tensor, value: Tensor) -> tuple[Tensor]:
        result = buffer.clone()
        result.select(dim, index).copy_(value)
        return (result,)

    return call
