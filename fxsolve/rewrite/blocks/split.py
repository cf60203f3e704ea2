"""Straight-line code that is the main thing of a program, as one equation for each of its layers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import fx

from fxsolve.ir.builder import BlockBuilder, copy_call
from fxsolve.ir.spec import Block, Equation, System, outputs_of
from fxsolve.ir.text import count_ops
from fxsolve.rewrite.blocks.calls import BlockCalls, cost_of_body
from fxsolve.rewrite.blocks.flatten import flatten_joins
from fxsolve.rewrite.blocks.mirrored import ForwardBlocks, mirrored
from fxsolve.rewrite.blocks.names import names_after, names_of
from fxsolve.structure.grouping import Path, group


def split_blocks(system: System, owners: Mapping[str, Path]) -> System:
    """The system with each block of several layers as its equation blocks, named by the modules that own their weights.

    So it is where straight-line code is more than all loops: elsewhere a block is what lies between loops,
    and nobody would schedule its parts. `owners` has the path of the module that owns an input of the system.
    """
    if not is_mostly_straight(system):
        return system
    taken = {*system.inputs, *(name for equation in system.equations for name in outputs_of(equation))}
    equations: list[Equation] = []
    known, forward = dict(owners), ForwardBlocks()
    for equation in system.equations:
        parts = _split(equation, known, taken, forward) if isinstance(equation, Block) else []
        if len(parts) > 1:
            forward.add(parts)
        equations += parts or [equation]
    return replace(system, equations=tuple(equations))


def is_mostly_straight(system: System) -> bool:
    """Whether the blocks of a system make more calls than all steps of its repeats, and do more work."""
    blocks = [one.body for one in system.equations if isinstance(one, Block)]
    calls = sum(map(count_ops, blocks)) - sum(one.length * count_ops(one.body) for one in system.repeats)
    if calls <= 0:
        return False
    return sum(map(cost_of_body, blocks)) > sum(one.length * cost_of_body(one.body) for one in system.repeats)


def _split(block: Block, owners: dict[str, Path], taken: set[str], forward: ForwardBlocks) -> list[Block]:
    """The equation blocks of one block; itself where it is one already. Adds to `owners` what is made of weights."""
    whole, block = block, flatten_joins(block)
    results = block.body.graph.output_node().args[0]
    calls = BlockCalls(block, owners)
    if any(result not in calls.number for result in results):  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
        return [whole]
    named: Any = zip(block.outputs, results, strict=True)  # pyright: ignore[reportArgumentType]
    owners.update((name, calls.weights[node]) for name, node in named if node in calls.weights)
    numbers, names = _mirrored_or_grouped(block, calls, forward)
    return _Writer(block, calls, numbers, names, taken).blocks() if len(names) > 1 else [whole]


def _mirrored_or_grouped(
    block: Block, calls: BlockCalls, forward: ForwardBlocks
) -> tuple[tuple[int, ...], Sequence[str]]:
    """The number of the block of each call, and the names of the blocks."""
    back = mirrored(calls, forward)
    if back is not None and len(back[1]) > 1:
        return back[0], names_after(block.name, back[1])
    found = group(calls.graph)
    # Several products with the weights of one module are steps of it, and not layers.
    is_one = bool(found.paths[0]) and len(set(found.paths)) == 1
    return found.block, [block.name] if is_one else names_of(block.name, found.paths)


class _Writer:
    """Writes the calls of one block into several; what one of them reads of another gets a name."""

    def __init__(
        self, block: Block, calls: BlockCalls, numbers: Sequence[int], names: Iterable[str], taken: set[str]
    ) -> None:
        self.block = block
        self.number = {node: numbers[call] for node, call in calls.number.items()}
        self.builders = list(map(BlockBuilder, names))
        self.names: dict[fx.Node, list[str]] = defaultdict(list)
        for name, node in zip(block.outputs, block.body.graph.output_node().args[0], strict=True):  # pyright: ignore
            self.names[node].append(name)
        for node in self._crossing():
            name = node.name
            while name in taken:
                name = f"{name}_"
            taken.add(name)
            self.names[node].append(name)
        for node, name in zip(block.body.graph.find_nodes(op="placeholder"), block.inputs, strict=True):
            self.names[node].append(name)

    def _crossing(self) -> list[fx.Node]:
        """The values that another block reads, and that have no name."""
        return [
            node
            for node, block in self.number.items()
            if node not in self.names and any(self.number.get(user, block) != block for user in node.users)
        ]

    def blocks(self) -> list[Block]:
        copied: dict[fx.Node, fx.Node] = {}
        for node, number in self.number.items():
            builder = self.builders[number]
            read = partial(self._read, number, copied)
            args, kwargs = fx.map_arg((node.args, node.kwargs), read)
            copied[node] = copy_call(builder.graph, node, args, kwargs)
            for name in self.names.get(node, ()):
                builder.outputs[name] = copied[node]
        return [block for builder in self.builders for block in builder.build()]

    def _read(self, number: int, copied: Mapping[fx.Node, fx.Node], source: fx.Node) -> fx.Node:
        if self.number.get(source) == number:
            return copied[source]
        name = self.names[source][0]
        return self.builders[number].read(name, source.meta.get("spec"))
