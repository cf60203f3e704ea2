"""Loops in a step read slices where they read the entries of a tensor one after the other."""

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import AllSteps, Lag, Repeat, Slices, Stacked
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.loops.nesting.stacked import read_slices

aten = torch.ops.aten
X, Y, START = torch.randn(5, 3), torch.randn(5, 3), torch.randn(3)

Entry = tuple[str, int] | str


def cell(length: int) -> Repeat:
    body = fx.symbolic_trace(lambda h, x: (torch.tanh(h * 0.5 + x),))
    reads = (Lag(0, ("h",)), Stacked(tuple(f"x{t}" for t in range(length))))
    return Repeat("cell", body, length, reads, (AllSteps("states", 0),))


def reading(entries: list[Entry], x: Tensor, dim: int = 0) -> fx.GraphModule:
    """A step that runs a loop over entries of tensors, or over the start where an entry is a name."""
    graph = fx.Graph()
    given = {"x": x, "y": Y, "h": START}
    nodes = {name: add_placeholder(graph, name, spec_of(value)) for name, value in given.items()}
    values = []
    for entry in entries:
        if isinstance(entry, str):
            values.append(nodes[entry])
        else:
            values.append(graph.call_function(aten.select.int, (nodes[entry[0]], dim, entry[1])))
            values[-1].meta["spec"] = spec_of(given[entry[0]].select(dim, entry[1]))
    nested = Nested(cell(len(entries)))
    states = graph.call_function(nested, (nodes["h"], *values))
    graph.output((states,))
    return fx.GraphModule({}, graph)


def run(module: fx.GraphModule, x: Tensor) -> Tensor:
    module.recompile()
    return module(x, Y, START)[0][0]


def read_of(module: fx.GraphModule) -> type:
    module.graph.lint()
    (nested,) = [node.target for node in module.graph.nodes if isinstance(node.target, Nested)]
    return type(nested.repeat.reads[1])


WHOLE: list[Entry] = [("x", t) for t in range(5)]
CASES: dict[str, tuple[list[Entry], type]] = {
    "whole": (WHOLE, Slices),
    "a part": (WHOLE[1:4], Slices),
    "one value in front": (["h", *WHOLE[:4]], Slices),
    "two tensors": ([*WHOLE[:2], ("y", 2), ("y", 3)], Slices),
    "three pieces": (["h", *WHOLE[:2], ("y", 0), ("y", 1)], Slices),
    "four pieces": (["h", *WHOLE[:2], ("y", 0), "h"], Stacked),
    "backwards": (WHOLE[::-1], Stacked),
    "values alone": (["h", "h"], Stacked),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loop_reads_slices_of_few_pieces_and_gives_what_it_gave(name: str) -> None:
    entries, kind = CASES[name]
    module = reading(entries, X)
    wanted = run(module, X)
    read_slices(module.graph)
    assert read_of(module) is kind
    assert torch.equal(run(module, X), wanted)


def test_a_tensor_that_is_read_whole_is_read_as_it_is() -> None:
    module = reading(WHOLE, X)
    read_slices(module.graph)
    module.graph.eliminate_dead_code()
    assert [node.name for node in module.graph.nodes if node.op == "call_function"] == ["cell"]


@pytest.mark.parametrize(
    ("x", "dim"), [(torch.randn(3, 5).t(), 0), (torch.randn(3, 5), 1)], ids=["gaps", "another dimension"]
)
def test_entries_that_do_not_lie_one_behind_the_other_are_read_one_by_one(x: Tensor, dim: int) -> None:
    module = reading(WHOLE, x, dim)
    wanted = run(module, x)
    read_slices(module.graph)
    assert read_of(module) is Stacked
    assert torch.equal(run(module, x), wanted)
