"""Numbers that change with the step, written as tensors so that a body can be batched over its steps."""

from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import OpenRepeat, open_repeat
from fxsolve.ir.spec import Repeat, Table
from fxsolve.ir.tables import table_tensor
from fxsolve.lower.numbers import WithTensors, of_tensors, with_tensors

aten = torch.ops.aten

_MOST_ENTRIES = 64  # of a window that moves along a tensor


class TakeEntry(torch.autograd.Function):
    """x.select(dim, i) for a 0-d index tensor; batched over i alone it is one index_select of the shared x."""

    @staticmethod
    def forward(x: Tensor, dim: int, index: Tensor) -> Tensor:
        return x.index_select(dim, index.reshape(1)).squeeze(dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is saved: sweeps are not differentiated."""

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, dim: int, index: Tensor
    ) -> tuple[Tensor, int]:
        if in_dims[0] is None:
            return x.index_select(dim, index), dim
        x = x.movedim(in_dims[0], 0)
        shape = [x.shape[0], *(1 for _ in x.shape[1:])]
        wide = [1 if k == dim + 1 else size for k, size in enumerate(x.shape)]
        return x.gather(dim + 1, index.view(shape).expand(wide)).squeeze(dim + 1), 0


def take_entry(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """x.select(dim, index)."""
    return TakeEntry.apply(x, dim, index)  # pyright: ignore[reportReturnType]


def open_with_tensors(repeat: Repeat) -> OpenRepeat:
    """A copy of a repeat that can be edited, its graph with outputs, whose tables are 0-d tensors.

    PartitionError names an op that needs a number.
    """
    opened = open_repeat(repeat)
    copied = dict(zip(repeat.body.graph.nodes, opened.graph.nodes, strict=False))
    opened.graph.output(tuple(copied[node] for node in repeat.body.graph.output_node().args[0]))  # pyright: ignore
    tables_to_tensors(opened)
    return opened


def tables_to_tensors(opened: OpenRepeat) -> None:
    """Rewrite every use of a table placeholder for a 0-d tensor; PartitionError names an op that needs a number."""
    for table, read in opened.reads.items():
        if isinstance(read, Table):
            # A function that takes one of its numbers as a tensor takes them all so.
            for user in [one for one in table.users if not isinstance(one.target, WithTensors)]:
                if not _ends_window(opened, table, user):
                    _rewrite(opened.graph, table, read, user)


def _ends_window(opened: OpenRepeat, table: fx.Node, user: fx.Node) -> bool:
    """Whether a call takes a window that another table begins."""
    if user.target is not aten.slice.Tensor or user.args[2] is table:
        return False
    return isinstance(opened.reads.get(user.args[2]), Table)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _rewrite(graph: fx.Graph, table: fx.Node, read: Table, user: fx.Node) -> None:
    with graph.inserting_before(user):
        if user.target is aten.select.int and user.args[2] is table:
            made = _take(graph, user.args[0], user.args[1], table, read)
        elif user.target is aten.slice.Tensor and table in user.args[2:4]:
            made = _take_window(graph, table, read, user)
        elif table in user.args[:2] and (target := of_tensors(user.target)) is not None:
            number = _typed(graph, table, read, user.args[1 if user.args[0] is table else 0])
            args = tuple(number if value is table else value for value in user.args)
            made = graph.call_function(target, args, dict(user.kwargs))
        elif (function := with_tensors(user.target)) is not None:
            made = graph.call_function(function, user.args, dict(user.kwargs))
        else:
            where = user.meta.get("source", "an unknown line")
            raise PartitionError(f"{user.target} at {where} takes a number that changes with the step")
    made.meta.update(user.meta)
    user.replace_all_uses_with(made)
    graph.erase_node(user)


def _typed(graph: fx.Graph, table: fx.Node, read: Table, other: Any) -> fx.Node:
    """The table in the type that a Python number takes next to `other`, which a 0-d tensor need not take.

    A tensor decides on the type next to one without dimensions, and where it is a float next to integers.
    """
    like = torch.empty(other.meta["spec"].shape, dtype=other.meta["spec"].dtype, device="meta")
    number = next((value for value in read.values if isinstance(value, float)), read.values[0])
    wanted = torch.result_type(like, number)
    if torch.result_type(like, table_tensor(Table((number,)), torch.device("meta"))[0]) == wanted:
        return table
    return graph.call_function(aten._to_copy.default, (table,), {"dtype": wanted})


def _take(graph: fx.Graph, x: Any, dim: Any, index: fx.Node, read: Table) -> fx.Node:
    shape = x.meta["spec"].shape
    dim = int(dim) % len(shape)
    if min(read.values) < -shape[dim]:
        raise PartitionError(f"{index.name} counts from the end and beyond the start of a dimension")
    if min(read.values) < 0:
        index = graph.call_function(aten.remainder.Scalar, (index, shape[dim]))
    return graph.call_function(take_entry, (x, dim, index))


def _take_window(graph: fx.Graph, table: fx.Node, read: Table, user: fx.Node) -> fx.Node:
    """x.narrow(dim, start_t, width) as its entries, stacked."""
    x, dim, start = user.args[:3]
    assert isinstance(x, fx.Node) and isinstance(dim, int)
    dim %= len(x.meta["spec"].shape)
    width = user.meta["spec"].shape[dim]
    if start is not table or width > _MOST_ENTRIES:
        where = user.meta.get("source")
        raise PartitionError(f"a window that moves with the step, at {where}, is wider than {_MOST_ENTRIES} entries")
    entries = [_take(graph, x, dim, *_later(graph, table, read, k)) for k in range(width)]
    if width == 1:
        return graph.call_function(aten.unsqueeze.default, (entries[0], dim))
    return graph.call_function(aten.stack.default, (entries, dim))


def _later(graph: fx.Graph, table: fx.Node, read: Table, k: int) -> tuple[fx.Node, Table]:
    """The numbers k further."""
    if not k:
        return table, read
    return graph.call_function(aten.add.Tensor, (table, k)), Table(tuple(value + k for value in read.values))
