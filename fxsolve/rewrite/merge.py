"""Entries with several indices, x[:, :, i, j], become entries of one flattened dimension, x[:, :, i * W + j]."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import BlockBuilder, add_call, stand_in
from fxsolve.ir.spec import Block, Lag, Table
from fxsolve.ir.strides import contiguous

aten = torch.ops.aten


@dataclass(frozen=True)
class _FlatEntry:
    """Entry index[t] of the dimensions low <= k < high of `base`, flattened to one of `size` entries."""

    base: fx.Node
    low: int
    high: int
    index: tuple[int, ...]

    def shape(self) -> tuple[int, ...]:
        """The shape of the base with those dimensions flattened."""
        shape = self.base.meta["spec"].shape
        return (*shape[: self.low], math.prod(shape[self.low : self.high]), *shape[self.high :])


def merge_selections(opened: OpenRepeat) -> None:
    """Replace select(select(x, d, i_t), e, j_t) with adjacent d and e by one select of the flattened x."""
    for node in reversed(opened.computed()):
        if node.target is not aten.select.int or _is_inner(node):
            continue
        chain: list[Any] = [node]
        while _selects(chain[-1].args[0]):
            chain.append(chain[-1].args[0])
        entry = _entry(opened, chain[-1].args[0], [call.args[1:3] for call in reversed(chain)])
        if entry is None:
            continue
        index = opened.add_read(f"{node.name}_entry", Table(entry.index), None)
        with opened.graph.inserting_before(node):
            flat = _reshape(opened.graph, entry.base, entry.shape())
            picked = stand_in(opened.graph, node, aten.select.int, (flat, entry.low, index))
        opened.replace(node, picked)


def flatten_buffers(opened: OpenRepeat) -> tuple[list[Block], list[Block]]:
    """Carry a buffer that is written at x[..., i_t, j_t, ...] in flattened form; returns the blocks before and after.

    Before the loop the buffer is flattened, behind it the result gets its shape back.
    """
    before, after = BlockBuilder(f"{opened.name}_flat"), BlockBuilder(f"{opened.name}_shaped")
    for placeholder, _, scatter in opened.written_carries():
        if (written := _written(opened, placeholder, scatter)) is not None:
            _carry_flat(opened, placeholder, *written, before, after)
    return before.build(), after.build()


def _carry_flat(
    opened: OpenRepeat,
    placeholder: fx.Node,
    entry: _FlatEntry,
    value: fx.Node,
    before: BlockBuilder,
    after: BlockBuilder,
) -> None:
    read, scatter = opened.reads[placeholder], opened.feeds[placeholder]
    assert isinstance(read, Lag)
    spec, name = placeholder.meta["spec"], f"{opened.name}_{placeholder.name}_flat"
    before.outputs[name] = _reshape(before.graph, before.read(read.initial[0], spec), entry.shape())
    flat_spec = before.outputs[name].meta["spec"]
    flat = opened.add_read(f"{placeholder.name}_flat", Lag(0, (name,)), flat_spec)
    index = opened.add_read(f"{placeholder.name}_entry", Table(entry.index), None)
    with opened.graph.inserting_before(opened.computed()[0]):
        shaped = _reshape(opened.graph, flat, spec.shape)
    with opened.graph.inserting_before(scatter):
        written = add_call(opened.graph, aten.select_scatter.default, (flat, value, entry.low, index), like=scatter)
    for last in [last for last, node in opened.lasts.items() if node is scatter]:
        del opened.lasts[last]
        opened.lasts[f"{last}_flat"] = written
        after.outputs[last] = _reshape(after.graph, after.read(f"{last}_flat", flat_spec), spec.shape)
    opened.feeds[flat] = written
    del opened.feeds[placeholder]
    placeholder.replace_all_uses_with(shaped)
    del opened.reads[placeholder]
    opened.graph.erase_node(scatter)
    opened.graph.erase_node(placeholder)


def _written(opened: OpenRepeat, buffer: fx.Node, scatter: fx.Node) -> tuple[_FlatEntry, fx.Node] | None:
    """The entry of `buffer`, and the value, that nested scatters write, each into a selection of the one around."""
    indices: list[Any] = []
    target: Any = buffer
    node: Any = scatter
    while node.target is aten.select_scatter.default and _same_place(node.args[0], target, indices):
        indices.append(node.args[2:4])
        target, node = node.args[:2]
    entry = _entry(opened, buffer, indices)
    return (entry, node) if entry is not None and isinstance(node, fx.Node) else None


def _same_place(node: object, target: fx.Node, indices: list[Any]) -> bool:
    """Whether `node` is the buffer itself, or the part of it that the scatters around select."""
    if not indices:
        return node is target
    return isinstance(node, fx.Node) and _selects(node) and node.args[0] is target and node.args[1:3] == indices[-1]


def _entry(opened: OpenRepeat, base: object, indices: list[Any]) -> _FlatEntry | None:
    """The flattened entry that several indices address, if they belong to adjacent dimensions and vary."""
    if len(indices) < 2 or not isinstance(base, fx.Node):
        return None
    shape = base.meta["spec"].shape
    left = list(range(len(shape)))
    values: dict[int, tuple[int, ...]] = {}
    for dim, index in indices:
        table = opened.reads.get(index) if isinstance(index, fx.Node) else Table((index,) * opened.length)
        if not isinstance(table, Table):
            return None
        own = left.pop(int(dim))
        values[own] = tuple(int(i) % shape[own] for i in table.values)
    low, high = min(values), max(values) + 1
    constant = all(not isinstance(index, fx.Node) for _, index in indices)
    if constant or high - low != len(values):
        return None
    flat = [0] * opened.length
    for dim in range(low, high):
        flat = [i * shape[dim] + j for i, j in zip(flat, values[dim], strict=True)]
    return _FlatEntry(base, low, high, tuple(flat))


def _selects(node: object) -> bool:
    return isinstance(node, fx.Node) and node.target is aten.select.int


def _is_inner(node: fx.Node) -> bool:
    """Whether another selection, which this one is merged into, is all that reads it."""
    return bool(node.users) and all(_selects(user) for user in node.users)


def _reshape(graph: fx.Graph, x: fx.Node, shape: tuple[int, ...]) -> fx.Node:
    if x.target is aten.reshape.default and x.all_input_nodes[0].meta["spec"] == contiguous(x.meta["spec"], shape):
        return x.all_input_nodes[0]
    return add_call(graph, aten.reshape.default, (x, list(shape)), like=x)
