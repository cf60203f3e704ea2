"""A system as the body of a step computes what the system does, and says truly what every call gives."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Block, Invariant, Repeat, System
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.loops.nesting.inline import inline
from fxsolve.loops.partition import partition
from tests.loops import programs
from tests.loops.programs import Sample, given_values

SAMPLES = (programs.gru, programs.strided, programs.columns_written, programs.several_outputs, programs.layers)


def step_of(system: System, values: dict[str, Tensor]) -> Repeat:
    """A repeat whose step reads what the system does."""
    graph = fx.Graph()
    for name in system.inputs:
        add_placeholder(graph, name, spec_of(values[name]))
    graph.output(())
    return Repeat("outer", fx.GraphModule({}, graph), 1, tuple(map(Invariant, system.inputs)), ())


class Truthful(fx.Interpreter):
    """Runs a graph and compares what every call gives with what is said of it."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function":
            specs = n.meta["spec"] if isinstance(result, tuple) else (n.meta["spec"],)
            results = result if isinstance(result, tuple) else (result,)
            for spec, value in zip(specs, results, strict=True):
                assert isinstance(spec, TensorSpec)
                assert spec == spec_of(value), n.name
        return result


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_the_body_computes_what_the_system_does_with_its_repeats_as_single_calls(sample: Sample) -> None:
    program = sample.captured()
    system, values = partition(program).system, given_values(program)
    repeat = step_of(system, values)
    body = inline(system, repeat)
    body.graph.lint()
    assert [inner.name for inner in loops_inside(replace(repeat, body=body))] == [one.name for one in system.repeats]
    with torch.no_grad():
        wanted = evaluate(system, values)
        found = Truthful(body).run(*(values[name] for name in system.inputs))
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_two_values_of_one_name_are_refused() -> None:
    body = fx.symbolic_trace(lambda x: (x,))
    system = System(("x",), (Block("block", body, ("x",), ("x",)),), ("x",))
    with pytest.raises(PartitionError, match="two values in the step of outer have one name"):
        inline(system, step_of(system, {"x": torch.zeros(2)}))


def test_specs_are_found_for_what_a_block_computes_of_unknown_tensors_and_left_where_they_are_known() -> None:
    builder = BlockBuilder("block")
    part = builder.call(torch.ops.aten.slice.Tensor, builder.read("x"), 0, 1, 3)
    builder.outputs["y"] = builder.call(torch.ops.aten.t.default, part)
    builder.outputs["y"].meta["spec"] = "recorded"
    assert "spec" not in part.meta
    x = torch.zeros(4, 3)
    system = System(("x",), tuple(builder.build()), ("y",))
    _, sliced, turned, _ = inline(system, step_of(system, {"x": x})).graph.nodes
    assert sliced.meta["spec"] == spec_of(x[1:3])
    assert turned.meta["spec"] == "recorded"
