"""The law of a program: running it equals the recorded run, bit for bit."""

from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program, recorded_attribute
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.operators import OpOverload, schema_of


def verify_program(program: Program) -> None:
    """Evaluate the graph of `program` on its example.

    Raises:
        CaptureError: a call writes into an argument, an output differs in any bit, or a guard reads another value.
    """
    program.module.graph.lint()
    _check_functional(program)
    outputs = _evaluate(program)
    count = len(program.example.outputs)
    for index, (value, expected) in enumerate(zip(outputs[:count], program.example.outputs, strict=True)):
        if not same_bits(value, expected):
            raise CaptureError(f"output {index} of the captured {program.name} differs from the recorded run.")
    for value, guard in zip(outputs[count:], program.guards, strict=True):
        if not _reads(value, guard.expected):
            raise CaptureError(f"{guard.source}: the capture reads {value.tolist()}, not {guard.expected}.")


def _evaluate(program: Program) -> tuple[Tensor, ...]:
    """What the module returns for the example; as it runs once only, no code is generated for it."""
    leaves = iter((*program.example.inputs, *program.example.noise, *program.example.cotangents))
    values: dict[fx.Node, Any] = {}
    unused = {node: len(node.users) for node in program.module.graph.nodes}
    for node in program.module.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(leaves)
        elif node.op == "get_attr":
            values[node] = recorded_attribute(program, node.target)
        elif node.op == "call_function":
            values[node] = node.target(*_known(node.args, values), **_known(node.kwargs, values))
        for read in node.all_input_nodes if node.op == "call_function" else ():
            unused[read] -= 1
            if unused[read] == 0:
                del values[read]
    return _known(program.module.graph.output_node().args[0], values)


def _known(arguments: Any, values: dict[fx.Node, Any]) -> Any:
    return fx.map_arg(arguments, values.__getitem__)


def _check_functional(program: Program) -> None:
    for node in program.module.graph.nodes:
        if isinstance(node.target, OpOverload) and schema_of(node.target).is_mutable:
            raise CaptureError(f"{node.meta['source']}: {node.target} is left in the captured {program.name}.")


def _reads(value: Tensor, expected: Any) -> bool:
    wanted = torch.tensor(expected, dtype=value.dtype).reshape(-1)
    return same_bits(value.detach().reshape(-1).cpu(), wanted)
