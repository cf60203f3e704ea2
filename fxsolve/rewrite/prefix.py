"""Find buffers that a loop fills entry by entry and reads whole."""

from dataclasses import dataclass

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import add_call
from fxsolve.ir.spec import Prefix, Table

aten = torch.ops.aten


@dataclass(frozen=True)
class _Write:
    """x_new = x with `value` written at entry index[t] along `dim`."""

    value: fx.Node
    dim: int
    index: tuple[int, ...]


def find_prefixes(opened: OpenRepeat) -> None:
    """Turn each carried buffer x_{t+1} = scatter(x_t, v_t, dim, i_t) with distinct i_t into a `Prefix` read.

    The buffer itself is then no output any more: only v_t is, and the buffer after the last step.
    """
    for placeholder, read, scatter in opened.written_carries():
        write = _write_of(opened, placeholder, scatter)
        if write is None:
            continue
        opened.reads[placeholder] = Prefix(0, read.initial[0], write.dim, write.index)
        opened.feeds[placeholder] = write.value
        for name in [name for name, node in opened.lasts.items() if node is scatter]:
            del opened.lasts[name]
            opened.finals[name] = placeholder
        opened.graph.erase_node(scatter)


def _write_of(opened: OpenRepeat, buffer: fx.Node, scatter: fx.Node) -> _Write | None:
    if scatter.op != "call_function" or not scatter.args or scatter.args[0] is not buffer:
        return None
    if scatter.target is aten.select_scatter.default:
        return _select_write(opened, buffer, scatter)
    if scatter.target is aten.slice_scatter.default:
        return _slice_write(opened, buffer, scatter)
    return None


def _select_write(opened: OpenRepeat, buffer: fx.Node, scatter: fx.Node) -> _Write | None:
    _, value, dim, index = scatter.args
    return _checked(opened, buffer, value, dim, index)


def _slice_write(opened: OpenRepeat, buffer: fx.Node, scatter: fx.Node) -> _Write | None:
    """A slice of width one is a single entry: write value.squeeze(dim)."""
    _, value, dim, start, *_ = (*scatter.args, 0)
    assert isinstance(value, fx.Node) and isinstance(dim, int)
    spec = value.meta["spec"]
    dim %= len(spec.shape)
    write = _checked(opened, buffer, value, dim, start) if spec.shape[dim] == 1 else None
    if write is None:
        return None
    with opened.graph.inserting_before(scatter):
        squeezed = add_call(opened.graph, aten.squeeze.dim, (value, dim), like=value)
    return _Write(squeezed, write.dim, write.index)


def _checked(opened: OpenRepeat, buffer: fx.Node, value, dim, index) -> _Write | None:
    table = opened.reads.get(index) if isinstance(index, fx.Node) else None
    if not isinstance(table, Table):
        return None
    shape = buffer.meta["spec"].shape
    dim = int(dim) % len(shape)
    entries = tuple(int(i) % shape[dim] for i in table.values)
    return _Write(value, dim, entries) if len(set(entries)) == len(entries) else None
