"""Per-step slices of an invariant tensor become reads of their own."""

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments
from fxsolve.ir.spec import Invariant, Slices, Table

aten = torch.ops.aten


def lift_slices(opened: OpenRepeat) -> None:
    """Replace each call select(u, dim, i_t), u invariant and i_t a table, by a placeholder that reads `Slices`.

    A slice that is one entry wide, u[:, i_t : i_t + 1], is such an entry with its dimension put back.
    """
    _select_single(opened)
    made: dict[Slices, fx.Node] = {}
    for node in opened.computed():
        read = _slices_of(opened, node)
        if read is None:
            continue
        if read not in made:
            made[read] = opened.add_read(node.name, read, node.meta["spec"])
        opened.replace(node, made[read])


def _select_single(opened: OpenRepeat) -> None:
    for node in opened.computed():
        if node.target is not aten.slice.Tensor:
            continue
        tensor, dim, start, _, step = arguments(node, None, 0, None, None, 1)
        is_moving = isinstance(opened.reads.get(tensor), Invariant) and isinstance(opened.reads.get(start), Table)
        if is_moving and isinstance(dim, int) and node.meta["spec"].shape[dim] == 1 and step == 1:
            with opened.graph.inserting_before(node):
                entry = add_call(opened.graph, aten.select.int, (tensor, dim, start), like=node)
                wide = add_call(
                    opened.graph, aten.unsqueeze.default, (entry, dim % len(node.meta["spec"].shape)), like=node
                )
            opened.replace(node, wide)


def _slices_of(opened: OpenRepeat, node: fx.Node) -> Slices | None:
    if node.target is not aten.select.int:
        return None
    tensor, dim, index = node.args
    source, table = opened.reads.get(tensor), opened.reads.get(index)  # pyright: ignore[reportArgumentType, reportCallIssue]
    if not isinstance(source, Invariant) or not isinstance(table, Table):
        return None
    shape = tensor.meta["spec"].shape  # pyright: ignore
    dim = int(dim) % len(shape)  # pyright: ignore[reportArgumentType]
    return Slices(source.source, dim, tuple(int(i) % shape[dim] for i in table.values))
