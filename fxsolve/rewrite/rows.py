"""Rows of a buffer that a loop fills are read where they were made.

Step t writes row w_t and reads row e_t. If that row is written by no step before t, it holds what was there before the
loop; if it is the row of d steps before, it holds the result of that step, which is a carry. So

    y[t] = f(x[t], y[t - 1])    and    y_t = f(x_t, y_{t-1}), stacked

are the same equations, and a step that looks at the row that it is about to write reads no other step. A window of rows
that moves with the step, y[t - p : t], is a stack of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import BlockBuilder, add_call
from fxsolve.ir.calls import arguments
from fxsolve.ir.spec import Block, Invariant, Lag, Prefix, Read, Slices, Table
from fxsolve.ir.tables import as_range
from fxsolve.rewrite.selected_rows import selected_rows
from fxsolve.rewrite.stacked_rows import stack_rows

aten = torch.ops.aten

_MOST_ROWS = 16  # of a window: each is handed from step to step by itself


def read_rows(opened: OpenRepeat) -> tuple[list[Block], list[Block]]:
    """Replace such reads; returns the blocks before and after, which pick first rows, and fill the buffer."""
    before, after = BlockBuilder(f"{opened.name}_rows"), BlockBuilder(f"{opened.name}_filled")
    for placeholder, read in list(opened.reads.items()):
        if isinstance(read, Prefix):
            rows = _Rows(opened, placeholder, read, before)
            rows.replace()
            if not placeholder.users:
                _stack(opened, placeholder, read, after)
    return before.build(), after.build()


@dataclass
class _Rows:
    """The rows of one buffer; `carried` are the placeholders of rows of steps before, by what they hold at first."""

    opened: OpenRepeat
    buffer: fx.Node
    read: Prefix
    before: BlockBuilder
    carried: dict[tuple[int, ...], fx.Node] = field(default_factory=dict)

    def replace(self) -> None:
        """Read every row from where it was made, if that is the same for all steps."""
        for node, rows in list(self._windows()):
            if all(_distance(one, self.read.index) is not None for one in rows):
                self.opened.replace(node, self._stacked(node, rows))
        for node, rows in list(self._selections()):
            distance = _distance(rows, self.read.index)
            if distance is not None:
                made = self._carry(rows[:distance]) if distance else self._found(node, rows)
                self.opened.replace(node, made)

    def _selections(self) -> Iterator[tuple[fx.Node, tuple[int, ...]]]:
        """The calls that select a row of the buffer, and which at each step."""
        for node in self.buffer.users:
            rows = selected_rows(self.opened, node, self.buffer, self.read.dim)
            if rows is not None:
                yield node, rows

    def _windows(self) -> Iterator[tuple[fx.Node, list[tuple[int, ...]]]]:
        """The calls that take a few rows of the buffer that move with the step, and which each is at each step."""
        size = self.buffer.meta["spec"].shape[self.read.dim]
        for node in self.buffer.users:
            firsts = _moving_starts(self.opened, node, self.read.dim)
            if firsts is not None:
                width = node.meta["spec"].shape[self.read.dim]
                yield node, [tuple(int(row) % size + k for row in firsts) for k in range(width)]

    def _stacked(self, node: fx.Node, rows: list[tuple[int, ...]]) -> fx.Node:
        """The rows of a window one by one, each at its place."""
        tables = [self.opened.add_read(f"{node.name}_row", Table(one), None) for one in rows]
        graph, dim = self.opened.graph, self.read.dim
        with graph.inserting_before(node):
            taken = [add_call(graph, aten.select.int, (self.buffer, dim, table), like=node) for table in tables]
            if len(taken) == 1:
                return add_call(graph, aten.unsqueeze.default, (taken[0], dim), like=node)
            return add_call(graph, aten.stack.default, (taken, dim), like=node)

    def _found(self, node: fx.Node, rows: tuple[int, ...]) -> fx.Node:
        """Rows as they were before the loop."""
        read: Read = Slices(self.read.initial, self.read.dim, rows)
        if len(set(rows)) == 1:
            read = Invariant(self._first(rows[0]))
        return self.opened.add_read(node.name, read, node.meta["spec"])

    def _carry(self, first: tuple[int, ...]) -> fx.Node:
        """The row of as many steps before as there are `first` rows, which stand for it until then, oldest first."""
        if first not in self.carried:
            value = self.opened.feeds[self.buffer]
            read = Lag(0, tuple(map(self._first, first)))
            self.carried[first] = made = self.opened.add_read(f"{self.buffer.name}_row", read, value.meta["spec"])
            self.opened.feeds[made] = value
        return self.carried[first]

    def _first(self, row: int) -> str:
        """The name of a row of the buffer as it was before the loop."""
        name = f"{self.opened.name}_{self.buffer.name}_{row}"
        if name not in self.before.outputs:
            buffer = self.before.read(self.read.initial, self.buffer.meta["spec"])
            like = self.opened.feeds[self.buffer]
            self.before.outputs[name] = self.before.stand_in(like, aten.select.int, buffer, self.read.dim, row)
        return name


def _moving_starts(opened: OpenRepeat, node: fx.Node, dim: int) -> tuple[int | float, ...] | None:
    """Where at each step a slice of a few rows begins, if a call is one that moves with the step."""
    if node.target is not aten.slice.Tensor:
        return None
    _, own, start, _, step = arguments(node, None, 0, None, None, 1)
    if isinstance(own, fx.Node):
        return None  # along a dimension that changes with the step
    shape, table = node.meta["spec"].shape, opened.reads.get(start)
    is_few = own % len(shape) == dim and step == 1 and shape[dim] <= _MOST_ROWS
    return table.values if is_few and isinstance(table, Table) else None


def _distance(rows: tuple[int, ...], written: tuple[int, ...]) -> int | None:
    """How many steps before each step wrote its row; 0 if none did, None if that changes with the step."""
    step_of = {row: step for step, row in enumerate(written)}
    ago = [step - step_of.get(row, step) for step, row in enumerate(rows)]
    distance = max(0, *ago)
    expected = [distance if step >= distance else 0 for step in range(len(rows))]
    return distance if [max(0, one) for one in ago] == expected else None


def _stack(opened: OpenRepeat, placeholder: fx.Node, read: Prefix, after: BlockBuilder) -> None:
    """Rows that only the next steps read are stacked, and put into the buffer behind the loop."""
    counted, value = as_range(read.index), opened.feeds[placeholder]
    if counted is None:
        return
    for name in [name for name, node in opened.finals.items() if node is placeholder]:
        del opened.finals[name]
        buffer = after.read(read.initial, placeholder.meta["spec"])
        written = stack_rows(opened, after, f"{name}_rows", value, counted, read.dim)
        after.outputs[name] = after.stand_in(placeholder, aten.slice_scatter.default, buffer, *written)
