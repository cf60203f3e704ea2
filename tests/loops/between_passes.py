"""The law of every pass: it leaves a well-formed system that computes what was recorded."""

import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.errors import PartitionError
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import System
from fxsolve.ir.verify import verify_system
from tests.loops.passes import after_each, full_text
from tests.loops.programs import given_values
from tests.table.observe import is_close


def check_every_pass(program: Program, system: System, tolerance: float) -> None:
    """The system behind each pass is well-formed and gives what was recorded; the last is `system`."""
    last = None
    for name, last in after_each(program):
        try:
            verify_system(last)
        except PartitionError as error:
            raise AssertionError(f"behind {name}: {error}") from error
        with torch.set_grad_enabled(program.grad):  # the layer of oneDNN keeps what its backward pass reads only then
            outputs = evaluate(last, given_values(program))
        for number, (found, expected) in enumerate(zip(outputs, _recorded(program), strict=True)):
            assert is_close(found, expected, tolerance), f"behind {name}: output {number} is {found}, not {expected}"
    assert last is not None
    assert full_text(last) == full_text(system)


def _recorded(program: Program) -> list[Tensor]:
    """What the outputs of the program were, and what its guards read."""
    results = next(iter(program.module.graph.find_nodes(op="output"))).args[0]
    read = zip(results[len(program.example.outputs) :], program.guards, strict=True)
    numbers = [
        torch.tensor(guard.expected, dtype=node.meta["spec"].dtype).reshape(node.meta["spec"].shape)
        for node, guard in read
    ]
    return [*program.example.outputs, *numbers]
