"""The blocks of a backward pass by those of the forward pass, whose calls they differentiate."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from fxsolve.capture.tape import NUMBER
from fxsolve.ir.calls import is_view
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.rewrite.blocks.calls import BlockCalls
from fxsolve.structure.mirror import NOWHERE, mirror

aten = torch.ops.aten


@dataclass
class ForwardBlocks:
    """Blocks of the forward pass, in order: their names, and which of them each reads.

    `numbers` are those that autograd gave to calls, each with the place of its block; `makers` the places of values.
    """

    names: list[str] = field(default_factory=list)
    reads: list[set[int]] = field(default_factory=list)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    makers: dict[str, int] = field(default_factory=dict)

    def add(self, blocks: Sequence[Block]) -> None:
        """The next blocks of the forward pass, behind what is no such block."""
        found = [
            (node.meta[NUMBER], len(self.names) + place)
            for place, block in enumerate(blocks)
            for node in block.body.graph.nodes
            if node.meta.get(NUMBER) is not None
        ]
        self.numbers += [(min(found)[0] - 1, NOWHERE), *found] if found else []
        for block in blocks:
            self.reads.append({self.makers[name] for name in block.inputs if name in self.makers})
            self.makers.update(dict.fromkeys(block.outputs, len(self.names)))
            self.names.append(block.name.partition(".")[2])

    def homes(self, nodes: Iterable[fx.Node]) -> list[int]:
        """The blocks that calls of the backward pass differentiate.

        A custom function numbers its node before calls that are not recorded: what it is behind is the next call.
        """
        known = sorted(self.numbers)
        found = (node.meta.get(NUMBER) for node in nodes)
        places = (len(known) if number is None else bisect_left(known, (number, 0)) for number in found)
        return [known[place][1] if place < len(known) else NOWHERE for place in places]


def mirrored(calls: BlockCalls, forward: ForwardBlocks) -> tuple[tuple[int, ...], list[str]] | None:
    """The block of each call of a backward pass, and the names of the blocks, in an order in which they can run.

    None where they are not those of the forward pass.
    """
    if not any("backward" in node.meta for node in calls.nodes):
        return None
    carried = list(map(_is_carried, calls.nodes))
    found = mirror(calls.graph.reads, forward.homes(calls.nodes), carried, forward.reads)
    if found is None:
        return None
    used = sorted(set(found), reverse=True)
    place = {block: number for number, block in enumerate(used)}
    return tuple(place[block] for block in found), [forward.names[block] for block in used]


def _is_carried(node: fx.Node) -> bool:
    """Whether a call adds up two gradients of one value, or looks at a part of one."""
    is_sum = node.target is aten.add.Tensor and len(node.args) == 2 and not node.kwargs
    return is_view(node) or (is_sum and len({_shape(one) for one in (node, *node.all_input_nodes)}) == 1)


def _shape(node: fx.Node) -> Any:
    spec = node.meta.get("spec")
    return spec.shape if isinstance(spec, TensorSpec) else None
