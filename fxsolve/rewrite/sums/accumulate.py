"""Split sums over the steps off a repeat: acc_t = acc_{t-1} + v_t where nothing but the next step reads acc.

    before:  for t: s_t = f(u_t, s_<t);  acc_t = acc_{t-1} + v(u_t, s_<=t)
    after:   for t: s_t = f(u_t, s_<t)
             for t: acc_t = acc_{t-1} + v(u_t, s_<=t)

The second loop runs the same operations in the same order, so it is still the program bit for bit; `fold` has its
direct solution. Gradients of shared parameters are such sums: autograd adds one term in each step of a backward loop.
"""

import math
import operator
from dataclasses import dataclass

import torch
from torch import fx

from fxsolve.ir.ancestors import ancestors, dependents
from fxsolve.ir.bodies import OpenRepeat, close_repeat
from fxsolve.ir.calls import is_view
from fxsolve.ir.spec import Equation, Lag, Prefix, Read, Slices
from fxsolve.ir.strides import is_contiguous
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


@dataclass(frozen=True)
class Term:
    """scale * value, added in every step."""

    value: fx.Node | int | float
    scale: int | float = 1


@dataclass(frozen=True)
class Accumulator:
    """result_t = carry_t + the terms of step t; `carry` is the placeholder of `result` one step back."""

    carry: fx.Node
    read: Lag
    result: fx.Node
    terms: tuple[Term, ...]


def accumulators(opened: OpenRepeat) -> list[Accumulator]:
    """The carries of a repeat that are only ever added to."""
    found: list[Accumulator] = []
    for carry, read, result in opened.written_carries():
        wanted = {*opened.steps.values(), *opened.lasts.values(), *opened.feeds.values()} - {result}
        terms = _terms(carry, result, wanted)
        if terms is not None:
            found.append(Accumulator(carry, read, result, terms))
    return found


def split_sums(opened: OpenRepeat) -> list[Equation]:
    """A repeat of the sums, taken out of `opened`, if there are any."""
    found = accumulators(opened)
    while found:
        inside = _private(opened, found)
        border = _border(inside, found)
        bad = [node for node in border if not _can_cross(opened, node)]
        if not bad:
            return [_split(opened, found, inside, border)]
        blocked = dependents(bad)
        found = [one for one in found if one.result not in blocked]
    return []


def _terms(carry: fx.Node, result: fx.Node, wanted: set[fx.Node]) -> tuple[Term, ...] | None:
    """What is added on the way from `carry` to `result`; None if anyone wants a value on the way, or changes it."""
    terms: list[Term] = []
    node = carry
    while node is not result:
        user = next(iter(node.users), None)
        term = _term(user, node) if user is not None and len(node.users) == 1 else None
        if term is None or user is None or node in wanted or user.meta["spec"][::2] != carry.meta["spec"][::2]:
            return None
        terms.append(term)
        node = user
    return tuple(terms) if terms and carry.meta["spec"].dtype != torch.bool else None


def _term(call: fx.Node, total: fx.Node) -> Term | None:
    """The term that `call` adds to `total`."""
    alpha = call.kwargs.get("alpha", 1)
    if call.target not in (aten.add.Tensor, aten.sub.Tensor) or not isinstance(alpha, (int, float)):
        return None
    left, right = call.args
    sign = 1 if call.target is aten.add.Tensor else -1
    if left is total and right is not total:
        return Term(right, sign * alpha)  # pyright: ignore[reportArgumentType]
    if right is total and left is not total and sign * alpha == 1:
        return Term(left)  # pyright: ignore[reportArgumentType]
    return None


def _private(opened: OpenRepeat, found: list[Accumulator]) -> set[fx.Node]:
    """The calls that nothing but the sums depends on, and the views that they read of what is laid out in gaps.

    A value that crosses from one repeat to the other is stacked, and so contiguous; a view of it can be taken there.
    """
    results = {one.result for one in found}
    fed = [node for carry, node in opened.feeds.items() if carry not in {one.carry for one in found}]
    wanted = [node for node in (*opened.steps.values(), *opened.lasts.values()) if node not in results]
    needed = ancestors([*fed, *wanted])
    inside = {node for node in ancestors(results) - needed if node.op == "call_function"}
    inside -= {node for node in inside if _is_light_result(node, inside)}
    while views := {node for node in _border(inside, found) if is_view(node) and not is_contiguous(node.meta["spec"])}:
        inside |= views
    return inside


def _is_light_result(node: fx.Node, inside: set[fx.Node]) -> bool:
    """Whether a call is one of several results of a call that the rest needs too, and may cross by itself.

    All steps of it are kept then, so it must be no larger than what the rest needs of that call: scales of norms are
    not, but the weights of a layer most often are.
    """
    if node.target is not operator.getitem or node.all_input_nodes[0] in inside:
        return False
    others = [user for user in node.all_input_nodes[0].users if user not in inside]
    return _entries(node) <= max(map(_entries, others), default=0)


def _entries(node: fx.Node) -> int:
    return math.prod(node.meta["spec"].shape)


def _border(inside: set[fx.Node], found: list[Accumulator]) -> list[fx.Node]:
    """What the calls inside read from outside of them, but for the sums themselves."""
    carries = {one.carry for one in found}
    reads = dict.fromkeys(source for node in inside for source in node.all_input_nodes)
    return sorted(node for node in reads if node not in inside and node not in carries)


def _can_cross(opened: OpenRepeat, node: fx.Node) -> bool:
    if node in opened.reads:
        return not isinstance(opened.reads[node], Prefix)
    spec = node.meta["spec"]
    return hasattr(spec, "shape") and is_contiguous(spec)


def _split(opened: OpenRepeat, found: list[Accumulator], inside: set[fx.Node], border: list[fx.Node]) -> Equation:
    crossing = {node: _crossing(opened, node) for node in border}
    name = f"{opened.name}_sums" if _other_results(opened, found) else opened.name
    part = OpenRepeat(name, opened.length, opened.source, Graph())
    copied = {node: part.add_read(node.name, read, node.meta.get("spec")) for node, read in crossing.items()}
    copied.update({one.carry: part.add_read(one.carry.name, one.read, one.carry.meta["spec"]) for one in found})
    copied = opened.copy_calls(inside, part.graph, copied)
    for one in found:
        part.feeds[copied[one.carry]] = copied[one.result]
        for name in [name for name, node in opened.lasts.items() if node is one.result]:
            part.lasts[name] = copied[one.result]
            del opened.lasts[name]
        del opened.feeds[one.carry], opened.reads[one.carry]
    _erase_unused(opened, inside, [one.carry for one in found])
    return close_repeat(part)


def _other_results(opened: OpenRepeat, found: list[Accumulator]) -> bool:
    sums = [one.result for one in found]
    return bool(opened.steps or opened.finals) or any(node not in sums for node in opened.lasts.values())


def _crossing(opened: OpenRepeat, node: fx.Node) -> Read:
    """How another repeat reads a value of this one."""
    read = opened.reads.get(node)
    if read is not None and not isinstance(read, Lag):
        return read
    name = next((name for name, step in opened.steps.items() if step is node), f"{opened.name}_{node.name}_steps")
    opened.steps[name] = node
    return Slices(name, 0, tuple(range(opened.length)))


def _erase_unused(opened: OpenRepeat, inside: set[fx.Node], carries: list[fx.Node]) -> None:
    """Drop the calls of the sums, but for the views that the rest, or anyone outside of the repeat, reads too."""
    wanted = {*opened.feeds.values(), *opened.steps.values(), *opened.lasts.values()}
    for node in reversed(opened.computed()):
        if node in inside and not node.users and node not in wanted:
            opened.graph.erase_node(node)
    for carry in carries:
        opened.graph.erase_node(carry)
