"""Canvases that steps fill, of which each step reads what is filled: x[:, :n_t], of an x that does not grow.

What is not filled may be anything, -1 or memory that nobody wrote. Steps read a copy of the canvas, which is `widened`
from what is valid and gets the same writes:

    x'_0 = widened(x_0[:, :n_0])               x'_(t+1) = write(x'_t, v_t, i_t)        read x'_t as far as the buffer is

Where every entry has been written when it is first read, and none before, what a copy holds behind its valid entries is
as harmless as they are, at every step, and no mask has to change with the step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.loops.growing.sizes import Growing
from fxsolve.loops.padding.values import Padder
from fxsolve.loops.padding.widened import widened
from fxsolve.loops.rolling.signature import Calls
from fxsolve.ops.call import Call, bind
from fxsolve.structure.slots import PeriodicWindow

aten = torch.ops.aten


@dataclass(frozen=True)
class Canvas:
    """`root` is the canvas in front of the loop, of which the first `filled` entries along `dim` are valid at step 0.

    The calls `reads` take what is filled; those at `places` of each step write.
    """

    root: fx.Node
    dim: int
    filled: int
    reads: frozenset[fx.Node]
    places: frozenset[int]


def find_canvases(calls: Calls, growing: Growing) -> list[Canvas]:
    """The canvases of a growing loop."""
    found: dict[tuple[fx.Node, int, int, frozenset[int]], set[fx.Node]] = {}
    for position, (results, slots) in enumerate(zip(growing.results, growing.slots, strict=True)):
        node = calls.nodes[growing.window.start + position]
        if node.target is not aten.slice.Tensor or results[0] is None or any(size.slope for size in slots[0]):
            continue
        dims = [dim for dim, size in enumerate(results[0]) if size.slope]
        canvas = _followed(calls, growing.window, position, dims[0]) if len(dims) == 1 else None
        if canvas is not None:
            found.setdefault((canvas.root, canvas.dim, canvas.filled, canvas.places), set()).update(canvas.reads)
    return [Canvas(*key[:3], frozenset(reads), key[3]) for key, reads in found.items()]


def _followed(calls: Calls, window: PeriodicWindow, position: int, dim: int) -> Canvas | None:
    """The canvas of which the calls at a position read; None unless they read just what is written."""
    reads = [calls.nodes[window.start + step * window.period + position] for step in range(window.trips)]
    is_written: NDArray[np.bool_] = np.zeros(reads[0].all_input_nodes[0].meta["spec"].shape[dim], bool)
    root, end, filled, places = None, None, 0, set[int]()
    for read in reads:
        canvas, span = read.all_input_nodes[0], _span(_bound(read), dim)
        writes, came_to = _writes(calls, window, canvas, end, dim)
        if span is None or came_to is None:
            return None
        if root is None:
            root, filled = came_to, span[1]
            is_written[:filled] = True
        for write in writes:
            start, stop = _span(_bound(write), dim) or (0, 0)
            is_written[start:stop] = True
            places.add((calls.values[write].call - window.start) % window.period)
        if not is_written[: span[1]].all() or is_written[span[1] :].any():
            return None
        end = canvas
    return None if root is None else Canvas(root, dim, filled, frozenset(reads), frozenset(places))


def _writes(
    calls: Calls, window: PeriodicWindow, canvas: fx.Node, end: fx.Node | None, dim: int
) -> tuple[list[fx.Node], fx.Node | None]:
    """The writes that made a canvas of `end`, and that; None for an end that is not come to.

    Without an `end`, it is what stands in front of the loop.
    """
    found: list[fx.Node] = []
    while canvas is not end:
        call = calls.values[canvas].call
        if not window.start <= call < window.stop:
            return found, canvas if end is None else None
        if canvas.target not in (aten.select_scatter.default, aten.slice_scatter.default):
            return found, None
        if _span(_bound(canvas), dim) is None:
            return found, None
        found.append(canvas)
        canvas = canvas.args[0]  # pyright: ignore[reportAssignmentType]
    return found, end


def _bound(node: fx.Node) -> Call:
    return bind(node.target, node.args, node.kwargs, None)  # pyright: ignore[reportArgumentType]


def _span(call: Call, dim: int) -> tuple[int, int] | None:
    """The entries along `dim` of the canvas that a call reads or writes; None if it is not one range of known ends."""
    shape = call["self"].meta["spec"].shape
    numbers = [call[name] for name in ("index", "start", "end", "step")]
    if call["dim"] % len(shape) != dim or any(isinstance(number, fx.Node) for number in numbers):
        return None
    if "index" in call.arguments:
        index = call["index"] % shape[dim]
        return index, index + 1
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(shape[dim])
    return (start, stop) if step == 1 else None


@dataclass
class Copies:
    """The copies of canvases on their way through the steps: `latest` has that of each state of a canvas."""

    canvas: Canvas
    latest: dict[fx.Node, fx.Node]

    def note(self, padder: Padder, position: int, node: fx.Node) -> None:
        """Write into the copy what the call `node` writes into the canvas, or let it read the copy."""
        if node in self.canvas.reads:
            padder.copies[node] = self.latest[node.all_input_nodes[0]]
        elif position in self.canvas.places and node.args[0] in self.latest:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            args, kwargs = padder.plain((node.args[1:], dict(node.kwargs)))
            self.latest[node] = padder.emit(node.target, self.latest[source], *args, **kwargs)


def copy_canvas(padder: Padder, canvas: Canvas, like: fx.Node, first: fx.Node) -> Copies:
    """The copy with which the loop begins, in front of its call `first`."""
    with padder.graph.inserting_before(first):
        valid = add_call(padder.graph, aten.slice.Tensor, (canvas.root, canvas.dim, 0, canvas.filled), like=like)
        made = widened(padder.graph, valid, canvas.root.meta["spec"].shape, like)
    for node in (valid, made):
        node.meta["buffer"] = True
        padder.made.append(node)
    return Copies(canvas, {canvas.root: made})
