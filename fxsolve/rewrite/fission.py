"""Split a repeat: what every step shares, what needs no earlier step, the recurrence itself, what only follows from it.

    before:  for t: s_t, y_t = body(u, x_t, s_<t)
    after:   c = hoisted(u);  p_t = inputs(c, x_t);  s_t = recurrence(c, p_t, s_<t);  y_t = outputs(c, p_t, s_<=t)
             and sums over the steps that the recurrence does not need, in a repeat of their own (`accumulate`)

The first part runs once, `inputs` and `outputs` have no carry and so one parallel sweep solves them; only the
recurrence is sequential. Loop fission in the sense of Allen and Kennedy, on the dependence graph of one body.
"""

import operator
from collections.abc import Callable

import torch
from torch import fx

from fxsolve.ir.ancestors import ancestors
from fxsolve.ir.bodies import OpenRepeat, close_repeat, open_repeat
from fxsolve.ir.builder import BlockBuilder, copy_call
from fxsolve.ir.calls import computes
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Equation, Invariant, Lag, Prefix, Read, Repeat, Slices, Stacked, Table
from fxsolve.ir.strides import is_contiguous
from fxsolve.rewrite.sums.accumulate import split_sums
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def split_repeat(repeat: Repeat) -> list[Equation]:
    """The equations that replace `repeat`, in order; just the repeat where there is nothing to split."""
    opened = open_repeat(repeat)
    before = hoist(opened)
    sums = split_sums(opened)
    before += _split_inputs(opened)
    after = _split_outputs(opened)
    rest = [close_repeat(opened)] if opened.is_wanted() else []
    return [*before, *rest, *after, *sums]


def hoist(opened: OpenRepeat) -> list[Equation]:
    """A block of the calls that depend on invariants only, taken out of `opened`."""
    shared = closed_under(opened, lambda read: isinstance(read, Invariant))
    frontier = _frontier(opened, shared)
    builder = BlockBuilder(f"{opened.name}_shared")
    reads = {
        node: builder.read(read.source, node.meta.get("spec"))
        for node, read in opened.reads.items()
        if isinstance(read, Invariant) and any(user in shared for user in node.users)
    }
    copied = opened.copy_calls(shared, builder.graph, reads)
    for node in frontier:
        name = f"{opened.name}_{node.name}"
        builder.outputs[name] = copied[node]
        opened.replace(node, opened.add_read(node.name, Invariant(name), node.meta["spec"]))
    return [*builder.build()]


def _split_inputs(opened: OpenRepeat) -> list[Equation]:
    """A repeat without carry of the calls that depend on no earlier step."""
    free = closed_under(opened, lambda read: not isinstance(read, (Lag, Prefix)))
    if len(free) == len(opened.computed()):
        return []
    free = _without_strided_results(opened, free)
    if not any(map(_computes, free)):
        return []
    part = OpenRepeat(f"{opened.name}_inputs", opened.length, opened.source, Graph())
    reads = {
        node: part.add_read(node.name, read, node.meta.get("spec"))
        for node, read in opened.reads.items()
        if any(user in free for user in node.users)
    }
    copied = opened.copy_calls(free, part.graph, reads)
    for node in _frontier(opened, free):
        name = f"{opened.name}_{node.name}"
        part.steps[name] = copied[node]
        read = Slices(name, 0, tuple(range(opened.length)))
        opened.replace(node, opened.add_read(node.name, read, node.meta["spec"]))
    return [close_repeat(part)]


def _split_outputs(opened: OpenRepeat) -> list[Equation]:
    """A repeat without carry, or a block where only the last step is wanted, of the calls that feed no later step."""
    needed = ancestors(opened.feeds.values())
    tail = {node for node in opened.computed() if node not in needed and not _projects(node, needed)}
    if not opened.feeds or not any(map(_computes, tail)):
        return []
    wanted = {name: node for name, node in opened.steps.items() if node in tail}
    lasts = {name: node for name, node in opened.lasts.items() if node in tail}
    used = ancestors([*wanted.values(), *lasts.values()])
    border = [
        n for n in opened.graph.nodes if n in used and n not in tail and any(u in tail and u in used for u in n.users)
    ]
    if any(_is_tuple(node) for node in border):
        return []
    reads_buffer = any(isinstance(opened.reads.get(node), Prefix) for node in border)
    strided = any(node not in opened.reads and not is_contiguous(node.meta["spec"]) for node in border)
    if wanted and (reads_buffer or strided):
        return []
    for name in wanted:
        del opened.steps[name]
    for name in lasts:
        del opened.lasts[name]
    if wanted:
        return [_tail_repeat(opened, tail & used, border, wanted, lasts)]
    return _tail_block(opened, tail & used, border, lasts)


def _tail_repeat(opened: OpenRepeat, tail: set[fx.Node], border: list[fx.Node], steps, lasts) -> Equation:
    part = OpenRepeat(f"{opened.name}_outputs", opened.length, opened.source, Graph())
    copied: dict[fx.Node, fx.Node] = {}
    for node in border:
        read = opened.reads.get(node)
        if read is None or isinstance(read, Lag):
            name = f"{opened.name}_{node.name}_steps"
            opened.steps[name] = node
            read = Slices(name, 0, tuple(range(opened.length)))
        copied[node] = part.add_read(node.name, read, node.meta.get("spec"))
    copied = opened.copy_calls(tail, part.graph, copied)
    part.steps.update({name: copied[node] for name, node in steps.items()})
    part.lasts.update({name: copied[node] for name, node in lasts.items()})
    return close_repeat(part)


def _tail_block(
    opened: OpenRepeat, tail: set[fx.Node], border: list[fx.Node], lasts: dict[str, fx.Node]
) -> list[Equation]:
    builder = BlockBuilder(f"{opened.name}_last")
    copied: dict[fx.Node, fx.Node | int | float] = {node: _last_value(opened, builder, node) for node in border}
    for node in opened.computed():
        if node in tail:
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: copied[source])  # pyright: ignore
            copied[node] = copy_call(builder.graph, node, args, kwargs)  # pyright: ignore[reportArgumentType]
    builder.outputs.update({name: copied[node] for name, node in lasts.items()})  # pyright: ignore
    return [*builder.build()]


def _last_value(opened: OpenRepeat, builder: BlockBuilder, node: fx.Node) -> fx.Node | int | float:
    spec = node.meta.get("spec")
    match opened.reads.get(node):
        case Invariant(source):
            return builder.read(source, spec)
        case Stacked(sources):
            return builder.read(sources[-1], spec)
        case Slices(source, dim, index):
            return builder.stand_in(node, aten.select.int, builder.read(source), dim, index[-1])
        case Table(values):
            return values[-1]
    name = f"{opened.name}_{node.name}_last"
    opened.lasts[name] = node
    return builder.read(name, spec)


# Sets of nodes.


def closed_under(opened: OpenRepeat, accepts: Callable[[Read], bool]) -> set[fx.Node]:
    """The calls all of whose inputs are accepted reads or such calls."""
    inside = {node for node, read in opened.reads.items() if accepts(read)}
    calls: set[fx.Node] = set()
    for node in opened.computed():
        if all(source in inside for source in node.all_input_nodes):
            inside.add(node)
            calls.add(node)
    return calls


def _frontier(opened: OpenRepeat, calls: set[fx.Node]) -> list[fx.Node]:
    """The calls of the set that anything outside of it reads, in order."""
    results = {*opened.feeds.values(), *opened.steps.values(), *opened.lasts.values()}
    return [
        node
        for node in opened.computed()
        if node in calls and not _is_tuple(node) and (node in results or any(user not in calls for user in node.users))
    ]


def _without_strided_results(opened: OpenRepeat, calls: set[fx.Node]) -> set[fx.Node]:
    """The set without calls whose results are read outside of it and are not contiguous.

    What crosses from one repeat to another is stacked, and so contiguous; a matrix product may round differently then.
    """
    while strided := {n for n in _crossing(opened, calls) if _is_tuple(n) or not is_contiguous(n.meta["spec"])}:
        calls = _without_dependents(opened, calls, strided)
    return calls


def _without_dependents(opened: OpenRepeat, calls: set[fx.Node], dropped: set[fx.Node]) -> set[fx.Node]:
    """The set without the `dropped` calls and all that depends on them."""
    gone = set(dropped)
    for node in opened.computed():
        if not gone.isdisjoint(node.all_input_nodes):
            gone.add(node)
    return calls - gone


def _crossing(opened: OpenRepeat, calls: set[fx.Node]) -> list[fx.Node]:
    """The calls of the set that calls outside of it, or later steps, read."""
    fed = {*opened.feeds.values()}
    return [node for node in calls if node in fed or any(user not in calls for user in node.users)]


def _projects(node: fx.Node, needed: set[fx.Node]) -> bool:
    """Whether a call picks an output of a call of the set."""
    return node.target is operator.getitem and node.args[0] in needed


def _computes(node: fx.Node) -> bool:
    return isinstance(node.target, Nested) or computes(node)


def _is_tuple(node: fx.Node) -> bool:
    return node.op == "call_function" and not hasattr(node.meta.get("spec"), "shape")
