"""Per-step slices of an invariant tensor become reads of their own."""

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.spec import Invariant, Slices, Table

aten = torch.ops.aten


def lift_slices(opened: OpenRepeat) -> None:
    """Replace each call select(u, dim, i_t), u invariant and i_t a table, by a placeholder that reads `Slices`."""
    made: dict[Slices, fx.Node] = {}
    for node in opened.computed():
        read = _slices_of(opened, node)
        if read is None:
            continue
        if read not in made:
            made[read] = opened.add_read(node.name, read, node.meta["spec"])
        opened.replace(node, made[read])


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
