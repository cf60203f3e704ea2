"""Buffers that a step carries, and of which it writes several rows, one after another, or adds to some."""

from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.spec import Lag
from fxsolve.ir.tables import as_range
from fxsolve.rewrite.selected_rows import Rows, rows_at, selected_rows

aten = torch.ops.aten


@dataclass(frozen=True)
class RowWrite:
    """One write of a step, which `node` does: it puts a value into a row, or adds `added`, which is 0 elsewhere."""

    node: fx.Node
    rows: Rows
    added: fx.Node | None = None

    @property
    def value(self) -> fx.Node:
        """What is put there, or added: where other calls have been replaced, by what stands in for them."""
        value = self.node.args[1] if self.added is None else self.added.args[0]
        assert isinstance(value, fx.Node)
        return value


@dataclass(frozen=True)
class MadeBy:
    """Who made the rows that are read: a write of so many steps before; nobody where `steps` is 0."""

    write: int
    steps: int


@dataclass(frozen=True)
class RowBuffer:
    """A buffer that a step carries, and what it writes there, one after another, all of it in rows along `dim`."""

    opened: OpenRepeat
    placeholder: fx.Node
    read: Lag
    dim: int
    writes: tuple[RowWrite, ...]

    def is_read_or_written_twice(self) -> bool:
        adds = any(write.added is not None for write in self.writes)
        return len(self.writes) > 1 or (adds and any(True for _ in self.selections()))

    def may_be_carried(self) -> bool:
        """Whether what every read finds, and what stands in every row at the end, was made in one way."""
        found = [rows for _, _, rows in self.selections()]
        touched = [rows for rows in found if rows is not None] + [write.rows for write in self.writes]
        return (
            len(touched) == len(found) + len(self.writes)
            and all(_never_meet(*both) for both in combinations(set(touched), 2))
            and all(self.origin(rows) is not None for rows in touched)
            and (not self.lasts() or self.order() is not None)
        )

    def selections(self) -> Iterator[tuple[int, fx.Node, Rows | None]]:
        """How many writes come before, the call, and the rows; None for a call that is no selection of rows."""
        bases = [self.placeholder, *(write.node for write in self.writes[:-1])]
        for stage, base in enumerate(bases):
            for user in base.users:
                if user is not self.writes[stage].node:
                    yield stage, user, selected_rows(self.opened, user, base, self.dim)

    def lasts(self) -> list[str]:
        """The names of the buffer behind the loop."""
        return [name for name, node in self.opened.lasts.items() if node is self.writes[-1].node]

    def origin(self, rows: Rows) -> MadeBy | None:
        """Which write of the steps before made such rows; None where that changes with the step."""
        latest: dict[int, tuple[int, int]] = {}
        found: list[tuple[int, int]] = []
        for step, row in enumerate(rows):
            write, at = latest.get(row, (-1, step))
            found.append((write, step - at))
            latest.update({one.rows[step]: (k, step) for k, one in enumerate(self.writes)})
        write, distance = found[-1]
        expected = [(write, distance) if step >= distance else (-1, 0) for step in range(len(rows))]
        return MadeBy(write, distance) if found == expected else None

    def order(self) -> tuple[int, ...] | None:
        """The order in which the rows of all steps, put there write by write, are those that stand there in the end.

        Writes of which nothing is left are not among them.
        """
        steps = zip(*(write.rows for write in self.writes), strict=True)
        latest = {row: k for rows in steps for k, row in enumerate(rows)}
        left = [k for k, write in enumerate(self.writes) if any(latest[row] == k for row in write.rows)]
        if any(as_range(self.writes[k].rows) is None for k in left):
            return None
        sorter = TopologicalSorter(
            {k: {j for j in left if j != k and any(latest[row] == k for row in self.writes[j].rows)} for k in left}
        )
        try:
            return tuple(sorter.static_order())
        except CycleError:
            return None


def find_row_buffers(opened: OpenRepeat) -> Iterator[RowBuffer]:
    """The carried buffers of which nothing is written but rows along one dimension, in a loop that runs to its end."""
    if opened.until is not None:
        return
    for placeholder, read, last in opened.written_carries():
        buffer = _buffer_of(opened, placeholder, read, last)
        if buffer is not None:
            yield buffer


def _buffer_of(opened: OpenRepeat, placeholder: fx.Node, read: Lag, last: fx.Node) -> RowBuffer | None:
    """The writes that lead from what a step carries to what the next one does, if it is nothing but such writes."""
    writes: list[RowWrite] = []
    dims: set[int] = set()
    while last is not placeholder:
        found = _write_of(opened, last)
        if found is None:
            return None
        last, dim, write = found
        writes.insert(0, write)
        dims.add(dim)
    inner = {placeholder, *(one.node for one in writes[:-1]), *(one.added for one in writes)}
    is_own = inner.isdisjoint((*opened.steps.values(), *opened.lasts.values(), *opened.feeds.values()))
    return RowBuffer(opened, placeholder, read, dims.pop(), tuple(writes)) if len(dims) == 1 and is_own else None


def _write_of(opened: OpenRepeat, node: fx.Node) -> tuple[fx.Node, int, RowWrite] | None:
    """What a call writes into, the dimension whose rows it writes, and the write."""
    if node.target is aten.select_scatter.default:
        base, value, dim, index = node.args
        return _checked(opened, node, base, value, dim, index)
    if node.target is aten.add.Tensor and len(node.args) == 2 and not node.kwargs:
        for base, added in (node.args, node.args[::-1]):
            if isinstance(added, fx.Node) and added.target is aten.select_backward.default and len(added.users) == 1:
                value, _, dim, index = added.args
                return _checked(opened, node, base, value, dim, index, added)
    return None


def _checked(opened: OpenRepeat, node: fx.Node, base, value, dim, index, added: fx.Node | None = None):
    if not isinstance(base, fx.Node) or not isinstance(value, fx.Node) or isinstance(dim, fx.Node):
        return None  # along a dimension that changes with the step, there are no rows
    spec, like, dim = node.meta["spec"], base.meta["spec"], int(dim) % len(node.meta["spec"].shape)
    rows = rows_at(opened, index, spec.shape[dim])
    is_alike = like.shape == spec.shape and like.dtype == spec.dtype == value.meta["spec"].dtype
    return (base, dim, RowWrite(node, rows, added)) if rows is not None and is_alike else None


def _never_meet(one: Rows, other: Rows) -> bool:
    return all(a != b for a, b in zip(one, other, strict=True))
