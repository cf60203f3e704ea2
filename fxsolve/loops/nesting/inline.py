"""A system as the body of a step: blocks become their calls, repeats become single calls; and blocks back again."""

import operator
from typing import Any

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import AllSteps, Block, FinalBuffer, Repeat, System, Write
from fxsolve.ir.strides import contiguous
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.torch_compat.batches import FakeTensorMode


def inline(system: System, repeat: Repeat) -> fx.GraphModule:
    """The body of `repeat`, whose placeholders are the inputs of `system`, with its equations as calls."""
    graph = fx.Graph()
    known: dict[str, fx.Node] = {}
    for name, node in zip(system.inputs, repeat.body.graph.find_nodes(op="placeholder"), strict=True):
        known[name] = graph.node_copy(node)
    for equation in system.equations:
        made = _inlined(graph, equation, known) if isinstance(equation, Block) else _called(graph, equation, known)
        if not known.keys().isdisjoint(made):
            raise PartitionError(f"two values in the step of {repeat.name} have one name")
        known.update(made)
    fill_specs(graph)
    graph.output(tuple(known[name] for name in system.outputs))
    return fx.GraphModule({}, graph, class_name=repeat.name)


def _inlined(graph: fx.Graph, block: Block, known: dict[str, fx.Node]) -> dict[str, fx.Node]:
    placeholders = block.body.graph.find_nodes(op="placeholder")
    given = {node: known[name] for node, name in zip(placeholders, block.inputs, strict=True)}
    results: Any = graph.graph_copy(block.body.graph, given)
    return dict(zip(block.outputs, results, strict=True))


def _called(graph: fx.Graph, repeat: Repeat, known: dict[str, fx.Node]) -> dict[str, fx.Node]:
    nested = Nested(repeat)
    call = graph.call_function(nested, tuple(known[name] for name in nested.inputs))
    specs = tuple(_spec_of_write(repeat, write) for write in repeat.writes)
    call.meta.update(spec=specs, source=repeat.source)
    made: dict[str, fx.Node] = {}
    for number, (write, spec) in enumerate(zip(repeat.writes, specs, strict=True)):
        made[write.name] = graph.create_node("call_function", operator.getitem, (call, number), {}, write.name)
        made[write.name].meta.update(spec=spec, source=repeat.source)
    return made


def _spec_of_write(repeat: Repeat, write: Write) -> TensorSpec:
    if isinstance(write, FinalBuffer):
        return repeat.body.graph.find_nodes(op="placeholder")[write.read].meta["spec"]
    results: Any = repeat.body.graph.output_node().args[0]
    spec = results[write.output].meta["spec"]
    if not isinstance(write, AllSteps):
        return spec
    return contiguous(spec, (repeat.length, *spec.shape))


def fill_specs(graph: fx.Graph) -> None:
    """Find the specs of calls that were not recorded: slices and joins of the stacked steps of a loop."""
    with FakeTensorMode():
        for node in graph.nodes:
            if node.op == "call_function" and "spec" not in node.meta:
                args, kwargs = fx.map_arg((node.args, node.kwargs), _fake)
                node.meta["spec"] = _described(node.target(*args, **kwargs))


def _fake(node: fx.Node) -> Any:
    spec = node.meta["spec"]
    return _like(spec) if isinstance(spec, TensorSpec) else tuple(map(_like, spec))


def _like(spec: TensorSpec) -> torch.Tensor:
    return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device)


def _described(result: Any) -> Any:
    return spec_of(result) if isinstance(result, torch.Tensor) else tuple(map(spec_of, result))
