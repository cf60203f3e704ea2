"""Values that a block picks out of the steps of a loop, as what a program reads at every step is."""

from typing import Any

import torch

from fxsolve.ir.spec import AllSteps, Block, System

aten = torch.ops.aten


def picked_steps(system: System) -> dict[str, tuple[str, int]]:
    """The values that a block picks out of the steps of a loop: name -> (stack, step)."""
    stacks = {write.name for repeat in system.repeats for write in repeat.writes if isinstance(write, AllSteps)}
    picked: dict[str, tuple[str, int]] = {}
    for block in system.equations:
        if isinstance(block, Block):
            source = dict(zip(block.body.graph.find_nodes(op="placeholder"), block.inputs, strict=True))
            results: Any = block.body.graph.output_node().args[0]
            for name, node in zip(block.outputs, results, strict=True):
                if node.target is aten.select.int and source.get(node.args[0]) in stacks and node.args[1] == 0:
                    picked[name] = (source[node.args[0]], node.args[2])
    return picked
