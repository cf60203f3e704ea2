"""A loop inside a step as one sweep writes what its steps write."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import AllSteps, Invariant, LastStep, Read, Repeat, Slices, Stacked, Table
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.batch import batch
from fxsolve.lower.batch_inside import as_sweep

aten = torch.ops.aten
T, N = 4, 3
VALUES = {"w": torch.randn(N), "x": torch.randn(N, 2 * T, 2), **{f"s{t}": torch.randn(N) for t in range(T)}}


def loop(read: Read) -> Repeat:
    """tanh(w * (a + b)), of all steps and of the last one, for b as it is read."""
    graph = fx.Graph()
    specs = {name: spec_of(torch.zeros(N)) for name in ("w", "a")}
    specs["b"] = None if isinstance(read, Table) else specs["a"]  # pyright: ignore
    w, a, b = (add_placeholder(graph, name, spec) for name, spec in specs.items())
    total = graph.call_function(aten.add.Tensor, (a, b))
    product = graph.call_function(aten.mul.Tensor, (total, w))
    graph.output((total, graph.call_function(aten.tanh.default, (product,))))
    for node in graph.find_nodes(op="call_function", target=aten.add.Tensor):
        node.meta["spec"] = specs["a"]
    reads = (Invariant("w"), Stacked(tuple(f"s{t}" for t in range(T))), read)
    return Repeat("inner", fx.GraphModule({}, graph), T, reads, (AllSteps("all", 1), LastStep("last", 0)))


def given(repeat: Repeat) -> list[Any]:
    values: dict[str, Tensor] = {**VALUES, "x": VALUES["x"][..., 0]}
    return [values[name] for name in Nested(repeat).inputs]


@pytest.mark.parametrize(
    "read",
    [Slices("x", 1, tuple(range(T))), Slices("x", 1, tuple(range(T))[::-1]), Stacked(("w", "s3", "s3", "s0"))],
    ids=["in order", "in reverse", "stacked"],
)
def test_a_sweep_writes_what_the_steps_write(read: Read) -> None:
    repeat = loop(read)
    run = as_sweep(repeat, batch(repeat, T))
    for found, wanted in zip(run(*given(repeat)), Nested(repeat)(*given(repeat)), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "read",
    [
        Slices("x", 1, (0, 2, 1, 3)),
        Slices("x", 1, (1, 1, 1, 1)),
        Slices("x", 1, (0, 2, 4, 6)),
        Table((0.5, 1.0, 1.5, 2.0)),
    ],
    ids=str,
)
def test_numbers_and_entries_in_no_plain_order_are_refused(read: Read) -> None:
    repeat = loop(read)
    with pytest.raises(PartitionError, match="the steps of inner read numbers, or entries in no plain order"):
        as_sweep(repeat, batch(repeat, T))
