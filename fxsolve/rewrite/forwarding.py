"""Read through a loop: what it only hands on is read where it comes from.

A backward loop reads the values of a forward loop from a stack of its steps. Where such a value is an invariant of the
forward loop, a transposed weight for one, its stack would hold T copies of it.
"""

from dataclasses import dataclass, field

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat, close_repeat, open_repeat
from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.spec import Block, Equation, Invariant, Read, Repeat, Slices, Stacked

aten = torch.ops.aten


@dataclass
class Origins:
    """What the stacks of the repeats seen so far hold, where a repeat only hands it on."""

    _origins: dict[str, tuple[Read, object]] = field(default_factory=dict)  # with the spec of one step

    def note(self, equation: Equation) -> None:
        """Remember which writes of a repeat are what it reads."""
        if not isinstance(equation, Repeat):
            return
        opened = open_repeat(equation)
        for name, node in opened.steps.items():
            read = opened.reads.get(node)
            if isinstance(read, (Invariant, Slices, Stacked)):
                self._origins[name] = read, node.meta.get("spec")

    def read_through(self, equation: Equation) -> Equation:
        """The equation with every read of such a stack replaced by a read of what it holds."""
        return self._block(equation) if isinstance(equation, Block) else self._repeat(equation)

    def _block(self, block: Block) -> Block:
        """With every step that it picks out of such a stack replaced."""
        if self._origins.keys().isdisjoint(block.inputs):
            return block
        builder = BlockBuilder(block.name)
        names = dict(zip(block.body.graph.find_nodes(op="placeholder"), block.inputs, strict=True))
        copied = {node: builder.read(name, node.meta.get("spec")) for node, name in names.items()}
        for node in block.body.graph.nodes:
            if node.op == "call_function":
                copied[node] = self._pick(builder, node, names) or builder.graph.node_copy(node, copied.__getitem__)
        results = block.body.graph.output_node().args[0]
        builder.outputs.update(zip(block.outputs, (copied[node] for node in results), strict=True))  # pyright: ignore
        return builder.build()[0]

    def _pick(self, builder: BlockBuilder, node: fx.Node, names: dict[fx.Node, str]) -> fx.Node | None:
        """One step of a stack from where it comes from, if `node` picks one."""
        if node.target is not aten.select.int or node.args[0] not in names:
            return None
        _, dim, step = node.args
        assert isinstance(dim, int) and isinstance(step, int)
        found = self._find(Slices(names[node.args[0]], dim, (step,)))  # pyright: ignore[reportArgumentType]
        match found and found[0]:
            case Invariant(source) | Stacked((source,)):
                return builder.read(source, node.meta.get("spec"))
            case Slices(source, dim, (entry,)):
                return builder.stand_in(node, aten.select.int, builder.read(source), dim, entry)
        return None

    def _repeat(self, repeat: Repeat) -> Repeat:
        if not any(isinstance(read, Slices) and self._find(read) for read in repeat.reads):
            return repeat
        opened = open_repeat(repeat)
        for node, read in opened.reads.items():
            if isinstance(read, Slices) and (origin := self._find(read)):
                opened.reads[node], node.meta["spec"] = origin
        _merge_equal(opened)
        return close_repeat(opened)

    def _find(self, read: Slices) -> tuple[Read, object] | None:
        """What a read of a stack comes to, and the spec of one step of it."""
        if read.dim != 0 or read.source not in self._origins:
            return None
        origin, spec = self._origins[read.source]
        match origin:
            case Slices(source, dim, index):
                return Slices(source, dim, tuple(index[step] for step in read.index)), spec
            case Stacked(sources):
                return Stacked(tuple(sources[step] for step in read.index)), spec
        return origin, spec


def _merge_equal(opened: OpenRepeat) -> None:
    """One placeholder for reads that have become equal."""
    first = {}
    for node, read in list(opened.reads.items()):
        if not isinstance(read, (Invariant, Slices, Stacked)):
            continue
        known = first.setdefault(read, node)
        if known is not node:
            del opened.reads[node]
            opened.replace(node, known)
