"""Buffers of which a step writes several rows, or adds to some, as the backward pass of writes into rows does.

The backward pass of `out[t] = f(out[t - 1])` carries the gradient g of all rows: it takes row t, puts zeros there, and
adds to row t - 1. What it takes is what the step before made: rows are carried from step to step instead, and the
buffer is put together behind the loop, if anyone reads it at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import BlockBuilder, add_call
from fxsolve.ir.spec import Block, Invariant, Lag, Read, Slices
from fxsolve.ir.tables import as_range
from fxsolve.rewrite.row_buffers import RowBuffer, Rows, RowWrite, find_row_buffers
from fxsolve.rewrite.stacked_rows import stack_rows

aten = torch.ops.aten


def carry_rows(opened: OpenRepeat) -> tuple[list[Block], list[Block]]:
    """Carry rows instead of such buffers; returns the blocks before and after, which pick first rows, and fill it.

    x + (v in row i, zeros elsewhere) is x with x[i] + v in row i, up to the sign of zeros.
    """
    before, after = BlockBuilder(f"{opened.name}_first"), BlockBuilder(f"{opened.name}_together")
    for buffer in list(find_row_buffers(opened)):
        if buffer.is_read_or_written_twice() and buffer.may_be_carried():
            _carry(buffer, before, after)
    return before.build(), after.build()


def _carry(buffer: RowBuffer, before: BlockBuilder, after: BlockBuilder) -> None:
    """Read every row from where it was made."""
    rows = _CarriedRows(buffer, before)
    for stage, write in enumerate(buffer.writes):
        for at, node, selected in list(buffer.selections()):
            if at == stage and selected is not None:
                buffer.opened.replace(node, rows.at(stage, selected, node))
        rows.write(stage, write)
    rows.feed()
    for name in buffer.lasts():
        del buffer.opened.lasts[name]
        _put_together(buffer, name, rows.values, after)
    _drop(buffer)


def _drop(buffer: RowBuffer) -> None:
    """What is left of the writes goes."""
    del buffer.opened.feeds[buffer.placeholder]
    for write in reversed(buffer.writes):
        buffer.opened.graph.erase_node(write.node)
        if write.added is not None:
            buffer.opened.graph.erase_node(write.added)
    del buffer.opened.reads[buffer.placeholder]
    buffer.opened.graph.erase_node(buffer.placeholder)


def _put_together(buffer: RowBuffer, name: str, values: Sequence[fx.Node], after: BlockBuilder) -> None:
    """The buffer behind the loop: what it was in front of it, and the rows of all steps."""
    whole = after.read(buffer.read.initial[0], buffer.placeholder.meta["spec"])
    for k in buffer.order() or ():
        places = as_range(buffer.writes[k].rows)
        assert places is not None
        written = stack_rows(buffer.opened, after, f"{name}_rows{k}", values[k], places, buffer.dim)
        whole = after.call(aten.slice_scatter.default, whole, *written)
    after.outputs[name] = whole


@dataclass
class _CarriedRows:
    """The rows of one buffer, each read from where it was made."""

    buffer: RowBuffer
    before: BlockBuilder
    values: list[fx.Node] = field(default_factory=list)  # that stand in the rows after each of the writes
    made: dict[Rows, fx.Node] = field(default_factory=dict)
    fed: dict[fx.Node, int] = field(default_factory=dict)  # what is carried, and which write it is the result of

    def write(self, stage: int, write: RowWrite) -> None:
        """Note what stands in the rows after a write."""
        value = write.value
        if write.added is not None:
            row = self.at(stage, write.rows, value)
            with self.buffer.opened.graph.inserting_before(write.node):
                value = add_call(self.buffer.opened.graph, aten.add.Tensor, (row, value), like=write.node)
        self.values.append(value)

    def at(self, stage: int, rows: Rows, like: fx.Node) -> fx.Node:
        """Rows after so many writes of a step."""
        for write, value in zip(reversed(self.buffer.writes[:stage]), reversed(self.values[:stage]), strict=True):
            if write.rows == rows:
                return value
        if rows not in self.made:
            self.made[rows] = self._read(rows, like)
        return self.made[rows]

    def feed(self) -> None:
        """Hand on what is carried."""
        for placeholder, write in self.fed.items():
            self.buffer.opened.feeds[placeholder] = self.values[write]

    def _read(self, rows: Rows, like: fx.Node) -> fx.Node:
        opened, origin = self.buffer.opened, self.buffer.origin(rows)
        assert origin is not None
        if origin.steps:
            lag = Lag(0, tuple(map(self._first, rows[: origin.steps])))
            carried = opened.add_read(f"{self.buffer.placeholder.name}_row", lag, like.meta["spec"])
            self.fed[carried] = origin.write
            return carried
        read: Read = Slices(self.buffer.read.initial[0], self.buffer.dim, rows)
        if len(set(rows)) == 1:
            read = Invariant(self._first(rows[0]))
        return opened.add_read(f"{like.name}_row", read, like.meta["spec"])

    def _first(self, row: int) -> str:
        """The name of a row of the buffer as it was before the loop."""
        buffer = self.buffer
        name = f"{buffer.opened.name}_{buffer.placeholder.name}_{row}"
        if name not in self.before.outputs:
            whole = self.before.read(buffer.read.initial[0], buffer.placeholder.meta["spec"])
            self.before.outputs[name] = self.before.call(aten.select.int, whole, buffer.dim, row)
        return name
