"""Loops whose tensors grow: every step works on buffers of the final size, and so all steps are equal.

Where n_t entries of a dimension are valid at step t, the buffer has N >= n_t for all t. Every call of the loop has a
rule by which the valid entries of its result depend on valid entries alone: pointwise calls and products of rows do, a
softmax gets -inf where entries are not valid, a sum or a contracted dimension gets 0, and a join writes behind the
valid entries, where its numbers are not there from the beginning. Sums over N instead of n_t entries may add up in
another order: values agree to rounding, not bit for bit.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import fx

from fxsolve.loops.growing.sizes import AffineSize, Growing
from fxsolve.loops.padding.canvases import Copies, copy_canvas, find_canvases
from fxsolve.loops.padding.filled import Appended, find_filled
from fxsolve.loops.padding.known import Attributes
from fxsolve.loops.padding.rules import pad_call
from fxsolve.loops.padding.settled import find_settled
from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder, as_dim
from fxsolve.loops.padding.widened import widened
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.slots import Value as Result

aten = torch.ops.aten


@dataclass
class _Window:
    """One growing loop of `graph` on its way to buffers; `old` are the nodes that are written anew, in order."""

    calls: Calls
    growing: Growing
    padder: Padder
    filled: Appended
    entered: dict[tuple[fx.Node, Dims], fx.Node]
    old: dict[fx.Node, fx.Node | None]


def pad_window(graph: fx.Graph, calls: Calls, growing: Growing, attributes: Attributes | None = None) -> str | None:
    """Rewrite one growing loop of `graph` for buffers; if that cannot be, the reason, and the graph is as it was."""
    padder = Padder(graph, _limits(growing), attributes=attributes or Attributes(), last=growing.window.trips - 1)
    filled = find_filled(calls, growing, padder.known)
    padder.settled = find_settled(calls, growing, filled)
    window = _Window(calls, growing, padder, filled, {}, {})
    try:
        _write_anew(window)
        _hand_on(window)
    except NoRuleError as error:
        call = window.padder.call
        for node in reversed(window.padder.made):
            graph.erase_node(node)
        return f"{call.target} at {call.meta.get('source', 'an unknown line')} {error}"
    for node in reversed(window.old):
        graph.erase_node(node)
    return None


def _limits(growing: Growing) -> dict[int, int]:
    """For each slope, the largest size that grows by it."""
    last = growing.window.trips - 1
    limits: dict[int, int] = {}
    for size in growing.all_sizes():
        limits[size.slope] = max(limits.get(size.slope, 0), size.at(0), size.at(last))
    return limits


def _write_anew(window: _Window) -> None:
    growing, padder = window.growing, window.padder
    canvases = _copied(window)
    for step in range(growing.window.trips):
        padder.start_step(step)
        for position in range(growing.window.period):
            call = growing.window.start + step * growing.window.period + position
            padder.position, padder.count = position, 0
            padder.call, padder.sizes = window.calls.nodes[call], growing.results[position]
            for canvas in canvases:
                canvas.note(padder, position, padder.call)
            entered = _enter(window, call, growing.slots[position])
            if _grows(window, call):
                _write_call(window, padder.call)
            for node in entered:
                del padder.values[node]  # another call may read the same value as one that does not grow


def _copied(window: _Window) -> list[Copies]:
    """Copies of the canvases that the steps fill."""
    first = window.calls.nodes[window.growing.window.start]
    canvases = find_canvases(window.calls, window.growing)
    return [copy_canvas(window.padder, canvas, first, first) for canvas in canvases]


def _enter(window: _Window, call: int, slots: tuple[tuple[AffineSize, ...], ...]) -> set[fx.Node]:
    """Give the values from outside of the loop that grow with the step their buffers, in front of the loop."""
    padder = window.padder
    found: set[fx.Node] = set()
    for argument, sizes in zip(window.calls.arguments(call), slots, strict=True):
        if _is_inside(window, argument) or not any(size.slope for size in sizes):
            continue
        node, dims = window.calls.node_of(argument), tuple(map(as_dim, sizes))
        if (node, dims) not in window.entered:
            # in front of what the first step has made, which is as long then as every other
            first = next(iter(padder.made), window.calls.nodes[window.growing.window.start])
            window.entered[node, dims] = _widened(padder, node, dims, first, window.filled.numbers.get(node))
        # zeros or valid places, and what steps wrote: sweeps that leave what is not finite are not used
        padder.values[node] = padder.step, PaddedValue(window.entered[node, dims], dims, harmless=True)
        found.add(node)
    return found


def _widened(padder: Padder, node: fx.Node, dims: Dims, first: fx.Node, number: float | None) -> fx.Node:
    """The value with other entries behind its own, all of them that `number`, in front of the call `first`."""
    with padder.graph.inserting_before(first):
        made = widened(padder.graph, node, tuple(map(padder.width, dims)), padder.call, number)
    made.meta["buffer"] = True
    padder.made.append(made)
    return made


def _is_inside(window: _Window, value: Result) -> bool:
    return window.growing.window.start <= value.call < window.growing.window.stop


def _grows(window: _Window, call: int) -> bool:
    """Whether a call reads, or gives, something that grows."""
    given = [size for sizes in window.padder.sizes if sizes for size in sizes]
    read = [window.calls.node_of(argument) for argument in window.calls.arguments(call)]
    return any(size.slope for size in given) or any(window.padder.value(node).grows for node in read)


def _write_call(window: _Window, node: fx.Node) -> None:
    padder = window.padder
    if node in window.filled.joins:
        before = padder.value(node.all_input_nodes[0])
        _keep(window, node, replace(before, dims=padder.result_dims(), above=None))
        return
    result = pad_call(padder, node)
    if isinstance(result, PaddedValue):
        _keep(window, node, result)
        return
    window.old[node] = None
    for projection in [user for user in node.users if user.target is operator.getitem]:
        number = projection.args[1]
        assert isinstance(number, int)
        part = padder.emit(operator.getitem, result.node, number)
        _keep(window, projection, PaddedValue(part, result.dims[number], result.harmless))


def _keep(window: _Window, node: fx.Node, value: PaddedValue) -> None:
    """Remember what a node has become. NoRuleError if its sizes are not what they were."""
    padder = window.padder
    shape = tuple(node.meta["spec"].shape)
    if tuple(map(padder.valid, value.dims)) != shape or value.node.meta["spec"].shape != tuple(
        padder.widths(value.dims)
    ):
        raise NoRuleError("gives a shape that grows by no rule")
    if value.node.meta["spec"].dtype != node.meta["spec"].dtype:
        raise NoRuleError("gives another type for a buffer")
    padder.values[node] = padder.step, value
    window.old[node] = value.node if not value.grows else None


def _hand_on(window: _Window) -> None:
    """What is read outside of the loop is cut out of its buffer, behind the loop."""
    for node, plain in list(window.old.items()):
        if plain is not None:
            node.replace_all_uses_with(plain, propagate_meta=False)
        elif users := _outside(window, node.users):
            cut = _cut_out(window, node)
            for user in users:
                user.replace_input_with(node, cut)


def _outside(window: _Window, users: Iterable[fx.Node]) -> list[fx.Node]:
    return [user for user in users if user not in window.old]


def _behind(window: _Window) -> fx.Node:
    """The first node behind the loop; what the next loop begins with may have been erased."""
    node = window.calls.nodes[window.growing.window.stop - 1].next
    while node.target is operator.getitem:
        node = node.next
    return node


def _cut_out(window: _Window, node: fx.Node) -> fx.Node:
    """The valid entries of a value of one step, laid out as they were."""
    padder = window.padder
    padder.step, value = padder.values[node]
    padder.call = _behind(window)
    padder.position, padder.count = -1 - len(padder.made), 0
    factors = [factor for dim in value.dims for factor in (dim or (1,))]
    made, first = value.node, len(padder.made)
    if any(len(dim) > 1 for dim in value.dims):
        made = padder.emit(aten.reshape.default, made, padder.widths(tuple((factor,) for factor in factors)))
    for dim, factor in enumerate(factors):
        if isinstance(factor, AffineSize):
            made = padder.emit(aten.slice.Tensor, made, dim, 0, factor.at(padder.step))
    made = padder.emit(aten.clone.default, made, memory_format=torch.contiguous_format)
    made = padder.emit(aten.view.default, made, list(node.meta["spec"].shape))
    for cut in padder.made[first:]:
        cut.meta.update({**node.meta, "spec": cut.meta["spec"], "buffer": True})
    return made
