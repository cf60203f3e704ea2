"""Lists that a loop in the steps of another updates: carried from step to step as one stack, not entry by entry."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat, close_repeat, open_repeat
from fxsolve.ir.builder import BlockBuilder, stand_in
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Equation, Lag, Repeat
from fxsolve.ir.strides import is_contiguous, stacked
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.nesting.stacked import read_slices

aten = torch.ops.aten


@dataclass
class _Bundle:
    """A stack that a loop inside gives, and the carried values that are its entries: entry -> placeholder."""

    stack: fx.Node
    entries: dict[int, fx.Node] = field(default_factory=dict)

    def is_whole(self) -> bool:
        """Whether each entry is carried."""
        return sorted(self.entries) == list(range(self.stack.meta["spec"].shape[0]))


def bundle_carries(repeat: Repeat) -> list[Equation]:
    """The repeat with every stack whose entries are all carried as one carried value; and blocks around it."""
    opened = open_repeat(repeat)
    before, after = BlockBuilder(f"{repeat.name}_bundled"), BlockBuilder(f"{repeat.name}_parts")
    bundles = [bundle for bundle in _bundles(opened) if bundle.is_whole()]
    if not bundles:
        return [repeat]
    for bundle in bundles:
        _carry(opened, bundle, before)
        _hand_on(opened, bundle, after)
    read_slices(opened.graph)
    return [*before.build(), close_repeat(opened), *after.build()]


def _bundles(opened: OpenRepeat) -> Iterator[_Bundle]:
    found: dict[fx.Node, _Bundle] = {}
    twice: set[fx.Node] = set()
    for placeholder, read in opened.reads.items():
        stack = _stack_of(opened.feeds[placeholder]) if isinstance(read, Lag) and read.distance == 1 else None
        if stack is None or not _fits(placeholder.meta["spec"], stack.meta["spec"]):
            continue
        entry: Any = opened.feeds[placeholder].args[2]
        bundle = found.setdefault(stack, _Bundle(stack))
        if entry in bundle.entries:
            twice.add(stack)
        bundle.entries[entry] = placeholder
    return (bundle for stack, bundle in found.items() if stack not in twice)


def _stack_of(node: fx.Node) -> fx.Node | None:
    """The stack of a loop inside that a node picks one step of."""
    if node.target is not aten.select.int or node.args[1] != 0:
        return None
    stack = node.args[0]
    if not isinstance(stack, fx.Node) or stack.target is not operator.getitem:
        return None
    producer = stack.args[0]
    return stack if isinstance(producer, fx.Node) and isinstance(producer.target, Nested) else None


def _fits(entry: TensorSpec, stack: TensorSpec) -> bool:
    return is_contiguous(entry) and stack == stacked(entry, stack.shape[0])


def _carry(opened: OpenRepeat, bundle: _Bundle, before: BlockBuilder) -> None:
    """Read the entries out of the stack of the step before."""
    name = f"{opened.name}_{bundle.stack.name}_initial"
    placeholders = [bundle.entries[entry] for entry in range(len(bundle.entries))]
    initial = [before.read(_initial(opened, one), one.meta["spec"]) for one in placeholders]
    before.outputs[name] = before.call(aten.stack.default, initial)
    whole = opened.add_read(f"{bundle.stack.name}_before", Lag(0, (name,)), bundle.stack.meta["spec"])
    for entry, placeholder in enumerate(placeholders):
        with opened.graph.inserting_before(next(node for node in opened.graph.nodes if node.op != "placeholder")):
            part = stand_in(opened.graph, placeholder, aten.select.int, (whole, 0, entry))
        del opened.reads[placeholder], opened.feeds[placeholder]
        opened.replace(placeholder, part)
    opened.feeds[whole] = bundle.stack


def _initial(opened: OpenRepeat, placeholder: fx.Node) -> str:
    read = opened.reads[placeholder]
    assert isinstance(read, Lag)
    return read.initial[0]


def _hand_on(opened: OpenRepeat, bundle: _Bundle, after: BlockBuilder) -> None:
    """What is read of the entries outside is read out of the stack there."""
    spec = bundle.stack.meta["spec"]
    for results, dim, suffix in ((opened.steps, 1, "all"), (opened.lasts, 0, "last")):
        picked = {name: node for name, node in results.items() if _stack_of(node) is bundle.stack}
        whole = f"{opened.name}_{bundle.stack.name}_{suffix}"
        for name, node in picked.items():
            results[whole] = bundle.stack
            stack = after.read(whole, stacked(spec, opened.length) if dim else spec)
            after.outputs[name] = after.call(aten.select.int, stack, dim, node.args[2])
            del results[name]
