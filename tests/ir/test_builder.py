"""A block that is built call by call runs as the calls say, and reads only what they need."""

import torch

from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import System
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.ir.verify import verify_system

aten = torch.ops.aten
X, W = torch.arange(3.0), torch.tensor([2.0, 0.0, 1.0])


def test_a_built_block_computes_what_its_calls_say() -> None:
    builder = BlockBuilder("sum")
    product = builder.call(aten.mul.Tensor, builder.read("x", spec_of(X)), builder.read("w", spec_of(W)))
    builder.outputs["y"] = builder.call(aten.add.Tensor, product, builder.read("x", spec_of(X)))
    (block,) = builder.build()
    assert (block.name, block.inputs, block.outputs) == ("sum", ("x", "w"), ("y",))
    system = System(("x", "w"), (block,), ("y",))
    verify_system(system)
    assert torch.equal(evaluate(system, {"x": X, "w": W})[0], X * W + X)


def test_a_name_is_one_input_however_often_and_late_it_is_read() -> None:
    builder = BlockBuilder("block")
    first = builder.read("x", spec_of(X))
    builder.call(aten.neg.default, first)
    late = builder.read("w", spec_of(W))
    assert builder.read("x", spec_of(X)) is first
    assert [node for node in builder.graph.nodes if node.op == "placeholder"] == [first, late]
    assert next(iter(reversed(builder.graph.nodes))).target is aten.neg.default  # inputs stand in front of all calls


def test_a_value_that_the_block_made_itself_is_no_input() -> None:
    builder = BlockBuilder("block")
    builder.outputs["y"] = made = builder.call(aten.neg.default, builder.read("x", spec_of(X)))
    assert builder.read("y", spec_of(X)) is made
    assert list(builder.inputs) == ["x"]


def test_names_that_are_no_identifiers_are_kept_outside_and_tell_inputs_apart() -> None:
    builder = BlockBuilder("block")
    a, b = builder.read("cell.0", spec_of(X)), builder.read("cell_0", spec_of(W))
    builder.outputs["cell.1"] = builder.call(aten.sub.Tensor, a, b)
    (block,) = builder.build()
    (result,) = evaluate(System(("cell.0", "cell_0"), (block,), ("cell.1",)), {"cell.0": X, "cell_0": W})
    assert torch.equal(result, X - W)


def test_without_a_value_there_is_no_block() -> None:
    builder = BlockBuilder("block")
    builder.call(aten.neg.default, builder.read("x", spec_of(X)))
    assert builder.build() == []
