"""Build the graph of a block whose inputs are named values."""

import torch
from torch import fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.spec import Block

aten = torch.ops.aten


class BlockBuilder:
    """A graph that grows call by call; reading a name for the first time makes it an input."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.graph = fx.Graph()
        self.inputs: dict[str, fx.Node] = {}
        self.outputs: dict[str, fx.Node] = {}

    def read(self, name: str, spec: object) -> fx.Node:
        """The node of a named value: one that this block made, or an input."""
        if name in self.outputs:
            return self.outputs[name]
        if name not in self.inputs:
            self.inputs[name] = add_placeholder(self.graph, name, spec)
        return self.inputs[name]

    def call(self, target: object, *args: object) -> fx.Node:
        return self.graph.call_function(target, args)  # pyright: ignore[reportArgumentType]

    def build(self) -> list[Block]:
        """The block, or nothing if no value was made."""
        if not self.outputs:
            return []
        self.graph.output(tuple(self.outputs.values()))
        module = fx.GraphModule({}, self.graph, class_name=self.name)
        return [Block(self.name, module, tuple(self.inputs), tuple(self.outputs))]
