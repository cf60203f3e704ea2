"""Systems made by hand for pictures: one block, one loop, seven equations, long names, many reads."""

import torch
from torch import fx, nn

from fxsolve.ir.spec import (
    AllSteps,
    Block,
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


def body(inputs: tuple[str, ...], results: int = 1) -> fx.GraphModule:
    """A body that adds up its inputs and returns the sum `results` times, each with one more tanh."""
    graph = fx.Graph()
    total, *others = [graph.placeholder(name) for name in inputs]
    for other in others:
        total = graph.call_function(torch.add, (total, other))
    values = []
    for _ in range(results):
        total = graph.call_function(torch.tanh, (total,))
        values.append(total)
    graph.output(tuple(values))
    return fx.GraphModule(nn.Module(), graph)


def repeat(name: str, length: int, reads: dict[str, Read], writes: tuple[Write, ...], results: int = 1) -> Repeat:
    """A repeat whose reads are named by the keys."""
    return Repeat(name, body(tuple(reads), results), length, tuple(reads.values()), writes, f"{name}.py:31")


def one_block() -> System:
    return System(("x", "w"), (Block("all", body(("x", "w")), ("x", "w"), ("y",)),), ("y",))


def gru(length: int = 4096) -> System:
    """Block, loop, block: h_t = body(x[:, t], h_{t-1}, w)."""
    reads: dict[str, Read] = {
        "x_t": Slices("x_proj", 1, tuple(range(length))),
        "h": Lag(0, ("h0",)),
        "weight": Invariant("cell.weight_hh"),
        "t": Table(tuple(range(length))),
    }
    cell = repeat("cell", length, reads, (AllSteps("hs", 0), LastStep("h_T", 0)))
    before = Block("before", body(("x", "w_ih")), ("x", "cell.weight_ih"), ("x_proj",))
    after = Block("after", body(("hs",)), ("hs",), ("y",))
    return System(("x", "h0", "cell.weight_ih", "cell.weight_hh"), (before, cell, after), ("y", "h_T"))


def seven() -> System:
    """Seven equations, three of them loops: carries of lag 1 and 2, a buffer, stacked weights, long names."""
    layers = tuple(f"layers.{i}.weight" for i in range(64))
    first = repeat(
        "forward_cell",
        1024,
        {"x_t": Slices("a", 0, tuple(range(1024))), "h": Lag(0, ("h0",)), "c": Lag(1, ("c0",)), "w": Invariant("w")},
        (AllSteps("h_fwd", 0), LastStep("c_T", 1)),
        2,
    )
    second = repeat(
        "depth",
        64,
        {"x": Lag(0, ("m0", "m1")), "weight": Stacked(layers), "skip": Invariant("h_fwd")},
        (LastStep("deep", 0),),
    )
    third = repeat(
        "pixel_by_pixel_autoregressive_sampling_step",
        784,
        {
            "image": Prefix(0, "blank", 1, tuple(range(784))),
            "noise": Slices("noise", 1, tuple(range(783, -1, -1))),
            "context": Invariant("mixed"),
        },
        (FinalBuffer("image_final", 0),),
    )
    equations = (
        Block("embed", body(("x", "table")), ("x", "embedding.weight"), ("a",)),
        first,
        Block("split", body(("h_fwd", "c_T"), 2), ("h_fwd", "c_T"), ("m0", "m1")),
        second,
        Block("mix", body(("deep", "h_fwd")), ("deep", "h_fwd"), ("mixed",)),
        third,
        Block(
            "head",
            body(("image", "c")),
            ("image_final", "c_T"),
            ("a_very_long_output_name_that_goes_on_and_on_and_on",),
        ),
    )
    inputs = ("x", "embedding.weight", "h0", "c0", "w", *layers, "blank", "noise")
    return System(inputs, equations, ("a_very_long_output_name_that_goes_on_and_on_and_on", "h_fwd", "x"))


def many_reads(count: int = 20) -> System:
    """One loop with `count` carries and as many weights."""
    carries: dict[str, Read] = {f"state_{i}": Lag(i, (f"start_{i}",)) for i in range(count)}
    weights: dict[str, Read] = {f"weight_{i}": Invariant(f"blocks.{i}.linear.weight") for i in range(count)}
    writes = tuple(LastStep(f"end_{i}", i) for i in range(count))
    wide = repeat("wide", 100, {**carries, **weights}, writes, count)
    names = tuple(f"start_{i}" for i in range(count)) + tuple(f"blocks.{i}.linear.weight" for i in range(count))
    return System(names, (wide,), tuple(write.name for write in writes))
