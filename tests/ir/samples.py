"""Random systems over vectors of 3 integers, and the pieces to make one by hand."""

from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from fxsolve.ir.spec import (
    AllSteps,
    Block,
    Equation,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Read,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
    Write,
)

SIZE = 3


def make_body(count: int, matrices: tuple[int, ...] = (), results: int = 1) -> fx.GraphModule:
    """(k + 1) * sum of the `count` arguments modulo 7, for k < `results`; the numbered ones are summed over dim 0."""
    graph = fx.Graph()
    arguments = [graph.placeholder(f"a{number}") for number in range(count)]
    total = graph.call_function(torch.ones, ((SIZE,),), {"dtype": torch.int64})
    for number, argument in enumerate(arguments):
        term = graph.call_method("sum", (argument, 0)) if number in matrices else argument
        total = graph.call_function(torch.add, (total, term))
    scaled = [graph.call_function(torch.mul, (total, k + 1)) for k in range(results)]
    graph.output(tuple(graph.call_function(torch.remainder, (value, 7)) for value in scaled))
    return fx.GraphModule(nn.Module(), graph)


@dataclass
class Names:
    """The values that exist so far: vectors, and matrices with their numbers of rows."""

    vectors: list[str]
    matrices: dict[str, int]
    count: int = field(default=0)

    def new(self) -> str:
        self.count += 1
        return f"v{self.count}"


@st.composite
def systems(draw: st.DrawFn, least: int = 0) -> System:
    """Up to 5 equations, blocks and repeats of up to 6 steps with every kind of read and write."""
    names = Names(["u", "w"], {"m": 4, "n": 6})
    equations: list[Equation] = []
    for number in range(draw(st.integers(least, 5))):
        if draw(st.booleans()):
            equations.append(_block(draw, names, f"block{number}"))
        else:
            equations.append(_repeat(draw, names, f"cell{number}"))
    known = [*names.vectors, *names.matrices]
    return System(("u", "w", "m", "n"), tuple(equations), tuple(draw(st.lists(st.sampled_from(known), max_size=3))))


def inputs(seed: int = 0) -> dict[str, Tensor]:
    """A value for each input of a random system."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"u": (SIZE,), "w": (SIZE,), "m": (4, SIZE), "n": (6, SIZE)}
    return {name: torch.randint(7, shape, generator=generator) for name, shape in shapes.items()}


def _block(draw: st.DrawFn, names: Names, name: str) -> Block:
    reads = tuple(draw(st.lists(st.sampled_from(names.vectors), max_size=3)))
    results = draw(st.integers(1, 2))
    outputs = tuple(names.new() for _ in range(results))
    names.vectors += outputs
    return Block(name, make_body(len(reads), results=results), reads, outputs)


def _repeat(draw: st.DrawFn, names: Names, name: str) -> Repeat:
    length, results = draw(st.integers(1, 6)), draw(st.integers(1, 2))
    count = draw(st.integers(0, 4))
    reads = tuple(_read(draw, names, length, results) for _ in range(count))
    body = make_body(count, tuple(k for k, read in enumerate(reads) if isinstance(read, Prefix)), results)
    writes = tuple(_write(draw, names, reads, length, results) for _ in range(draw(st.integers(0, 3))))
    source = draw(st.sampled_from(["", "model.py:12"]))
    return Repeat(name, body, length, reads, writes, source)


def _read(draw: st.DrawFn, names: Names, length: int, results: int) -> Read:
    kind = draw(st.sampled_from(["invariant", "stacked", "slices", "table", "lag", "prefix"]))
    vector = st.sampled_from(names.vectors)
    if kind == "invariant":
        return Invariant(draw(vector))
    if kind == "stacked":
        return Stacked(tuple(draw(vector) for _ in range(length)))
    if kind == "table":
        return Table(tuple(draw(st.integers(-5, 5)) for _ in range(length)))
    if kind == "lag":
        distance = draw(st.integers(1, 3))
        return Lag(draw(st.integers(0, results - 1)), tuple(draw(vector) for _ in range(distance)))
    source = draw(st.sampled_from(list(names.matrices)))
    rows = names.matrices[source]
    if kind == "slices" or rows < length:
        return Slices(source, 0, tuple(draw(st.integers(0, rows - 1)) for _ in range(length)))
    order = draw(st.permutations(range(rows)))
    return Prefix(draw(st.integers(0, results - 1)), source, 0, tuple(order[:length]))


def _write(draw: st.DrawFn, names: Names, reads: tuple[Read, ...], length: int, results: int) -> Write:
    name, output = names.new(), draw(st.integers(0, results - 1))
    buffers = [number for number, read in enumerate(reads) if isinstance(read, Prefix)]
    kind = draw(st.sampled_from(["all", "last", "buffer"] if buffers else ["all", "last"]))
    if kind == "last":
        names.vectors.append(name)
        return LastStep(name, output)
    if kind == "all":
        names.matrices[name] = length
        return AllSteps(name, output)
    number = draw(st.sampled_from(buffers))
    read = reads[number]
    assert isinstance(read, Prefix)
    names.matrices[name] = names.matrices[read.initial]
    return FinalBuffer(name, number)
