"""Ops that only move entries: where each entry of a result comes from, told apart for places and for all the rest."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.final import PerStep
from fxsolve.lower.incremental.places import NOWHERE, Numbers
from fxsolve.ops import access
from fxsolve.ops.call import Call, bind
from fxsolve.torch_compat.dispatch import without_modes
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree

MOVES = (
    access.Rearranged | access.Permuted | access.Reshaped | access.Expanded | access.Cut | access.Parts
    | access.Triangle | access.Selected | access.Indexed
)  # fmt: skip
_MOST_MORE = 2  # dimensions that are tried beside those with places


def call_of(node: fx.Node) -> Call:
    """A call of a step, with nodes for the values among its arguments."""
    assert isinstance(node.target, OpOverload)
    return bind(node.target, node.args, node.kwargs, node.meta["val"])


def source_of(node: fx.Node) -> tuple[fx.Node, int | None]:
    """The call of which a node is the result, or one of several, with its number."""
    if node.target is not operator.getitem:
        return node, None
    source, part = node.args
    assert isinstance(source, fx.Node) and isinstance(part, int)
    return source, part


def moves(node: fx.Node) -> bool:
    """Whether a node is a call that only moves entries of its first argument."""
    return isinstance(node.target, OpOverload) and isinstance(call_of(node).fact.access, MOVES)


@dataclass(frozen=True)
class Provenance:
    """Entry (m, r) of a result is entry (places[s, m], rest[r]) of the first argument, in the s-th step.

    m counts through the dimensions in question, r through the others; `dims` are those of the argument that m decides.
    There is one s where all steps are alike. A `fill` stands where places are `NOWHERE`.
    """

    dims: tuple[int, ...]
    places: Numbers
    rest: Numbers
    fill: float


class MovedFrom:
    """The origins of the moves of one step, each found once; `labels` tell of places that are values."""

    def __init__(self, labels: Mapping[fx.Node, Any]) -> None:
        self.labels = labels
        self._found: dict[tuple[fx.Node, tuple[int, ...], int | None], Provenance | None] = {}

    def of(self, node: fx.Node, dims: tuple[int, ...], part: int | None) -> Provenance | None:
        """Where result number `part` of a move has its entries from, told apart for places along `dims`.

        None where it cannot be told apart, or where places are not known before the run.
        """
        key = (node, dims, part)
        if key not in self._found:
            self._found[key] = self._find(call_of(node), dims, part)
        return self._found[key]

    def more_dims(self, node: fx.Node, dims: tuple[int, ...], part: int | None, shape: Sequence[int]) -> list[int]:
        """Further dimensions with which places and the rest can be told apart, as few as there are."""
        others = [dim for dim, size in enumerate(shape) if dim not in dims and size > 1]
        choices = (list(one) for count in range(1, _MOST_MORE + 1) for one in combinations(others, count))
        return next((more for more in choices if self.of(node, tuple(sorted({*dims, *more})), part)), [])

    def change_with_step(self, node: fx.Node) -> bool:
        """Whether other entries are taken in each step."""
        return any(isinstance(self.labels[one], PerStep) for one in node.all_input_nodes[1:])

    def _find(self, call: Call, dims: tuple[int, ...], part: int | None) -> Provenance | None:
        calls = self._known_calls(call)
        if calls is None or not isinstance(call.first, fx.Node):
            return None
        shape = call.first.meta["val"].shape
        with without_modes():
            found = [_sources(one, shape, part) for one in calls]
        known = [one for one in found if one is not None]
        return _tell_apart(np.stack(known), shape, dims, _fill_of(call)) if len(known) == len(found) else None

    def _known_calls(self, call: Call) -> list[Call] | None:
        """The call with all but its first argument as they are in each step, where that is known."""
        name, first = next(iter(call.arguments.items()))
        others = {one: value for one, value in call.arguments.items() if one != name}
        nodes = {leaf for leaf in pytree.tree_leaves(others) if isinstance(leaf, fx.Node)}
        known = {node: self.labels[node] for node in nodes}
        if not all(isinstance(value, Tensor | PerStep) for value in known.values()):
            return None

        def at(t: int) -> Call:
            found = {node: one.values[t] if isinstance(one, PerStep) else one for node, one in known.items()}
            arguments = pytree.tree_map_only(fx.Node, lambda node: found.get(node, node), others)
            return Call(call.target, {name: first, **arguments}, call.example, call.fact)

        lengths = (len(value.values) for value in known.values() if isinstance(value, PerStep))
        return [at(t) for t in range(next(lengths, 1))]


def _tell_apart(source: Numbers, shape: Sequence[int], dims: Sequence[int], fill: float) -> Provenance | None:
    """From the number of the entry of a value of `shape` that each entry of a result is, (S, *sizes)."""
    moved = np.moveaxis(source, [dim + 1 for dim in dims], range(1, len(dims) + 1))
    table = moved.reshape(len(source), math.prod(moved.shape[1 : len(dims) + 1]), -1)
    gaps = table == NOWHERE
    if gaps.all() or not (gaps == gaps[..., :1]).all():
        return None
    return _separate(table, gaps[..., 0], shape, fill)


def _separate(table: Numbers, gaps: Numbers, shape: Sequence[int], fill: float) -> Provenance | None:
    """(S, M, R) -> the dimensions of the argument that M decides, and the others, which R must decide alone."""
    inside = table[~gaps]  # (n, R)
    places, rest, dims = np.zeros(gaps.shape, np.int64), np.zeros_like(table[0, 0]), list[int]()
    for dim, size in enumerate(shape):
        stride = math.prod(shape[dim + 1 :])
        coordinate = inside // stride % size
        by_place = bool((coordinate != coordinate[:1]).any())
        if by_place and bool((coordinate != coordinate[:, :1]).any()):
            return None
        if by_place:
            dims.append(dim)
            places = places * size + table[..., 0] // stride % size
        else:
            rest = rest * size + coordinate[0]
    return Provenance(tuple(dims), np.where(gaps, NOWHERE, places), rest, fill)


def _sources(call: Call, shape: Sequence[int], part: int | None) -> Numbers | None:
    """For each entry of a result the number of that of the argument, or `NOWHERE`: the op itself is run on numbers."""
    numbers = torch.arange(1, math.prod(shape) + 1).reshape(tuple(shape))
    if isinstance(call.fact.access, access.Reshaped) and "size" in call.arguments:
        return numbers.reshape(call["size"]).numpy() - 1
    name, into = next(iter(call.arguments)), _fill_name(call)
    fill = {into: 0} if into else {}
    for given in (numbers, numbers.double()):  # some ops take no integers
        try:
            moved = call.run({name: given, **fill})
        except (RuntimeError, NotImplementedError):
            continue
        result = moved if part is None else pytree.tree_leaves(moved)[part]
        return result.long().numpy(force=True) - 1
    return None


def _fill_name(call: Call) -> str:
    kind = call.fact.access
    return kind.fill if isinstance(kind, access.Rearranged) else ""


def _fill_of(call: Call) -> float:
    name = _fill_name(call)
    return (call[name] or 0) if name else 0
