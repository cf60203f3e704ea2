"""The module that sweeps over blocks which are alike: weights padded with zeros and stacked, and the calls on them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.lower.alike.kinds import grown_dims
from fxsolve.lower.alike.layouts import Layout, SumOver, beside
from fxsolve.lower.alike.match import Likeness
from fxsolve.lower.alike.traced import fake, traced, traced_for_any
from fxsolve.lower.decompose import decompose
from fxsolve.lower.readable import readable
from fxsolve.lower.trace import check_rules
from fxsolve.solvers.alike import Alike, Wiring
from fxsolve.torch_compat.batches import FakeTensorMode
from fxsolve.torch_compat.graphs import Graph


@dataclass(frozen=True)
class _Prepared:
    """A weight as it is needed: `layout` of its stack (L, *shape), and of which entries along it are valid, (L, W)."""

    node: fx.Node
    layout: Layout


def build_alike(like: Likeness, number: Mapping[str, int], level: Mapping[str, int], levels: Sequence[int]) -> Alike:
    """The module for blocks of some `levels`; `number` and `level` are those of named values, 0 where one is given.

    Raises `PartitionError` where a call has no batching rule.
    """
    pieces = _Pieces(like, level)
    parts = _Parts(like, number, pieces)
    wiring = Wiring(
        weights=tuple(number[name] for leaf in parts.leaves for name in like.names[leaf]),
        pieces=tuple(number[name] for name in pieces.names),
        widths=tuple(pieces.width[name] for name in pieces.names),
        piece_levels=tuple(level.get(name, 0) for name in pieces.names),
        dim=like.dim,
        operands=len(parts.operands),
        sums=tuple((one.method, parts.features.index(one.source)) for one in parts.sums),
        stacks=tuple(tuple(number[name] for name in like.names[node]) for node in parts.stacks),
        results=tuple(tuple(-1 if name is None else number[name] for name in row) for row in like.results),
        levels=tuple(levels),
    )
    return Alike(parts.prepare(), parts.before(), parts.after(), wiring, pieces.constants())


class _Pieces:
    """What is joined, in the order in which it becomes final, and where that of each block lies in it."""

    def __init__(self, like: Likeness, level: Mapping[str, int]) -> None:
        self.rows = like.pieces
        self.width: dict[str, int] = {}
        if like.join is None:
            self.names: list[str] = []
            return
        for nodes, row in zip(like.aligned[like.join], like.pieces, strict=True):
            sources: Any = nodes.args[0] if nodes.op == "call_function" else [nodes]
            self.width.update((name, one.meta["spec"].shape[like.dim]) for name, one in zip(row, sources, strict=True))
        self.names = sorted(self.width, key=lambda name: level.get(name, 0))

    def constants(self) -> tuple[Tensor, Tensor]:
        """Of the channels of all blocks, one after another, the places in (L, W); and which of these are taken."""
        total, starts = sum(self.width.values()), {}
        for name in self.names:
            starts[name] = sum(self.width[one] for one in starts)
        own = [[starts[name] + k for name in row for k in range(self.width[name])] for row in self.rows]
        places = torch.tensor([block * total + k for block, row in enumerate(own) for k in row], dtype=torch.long)
        valid = torch.zeros(len(own) * total, dtype=torch.bool).index_fill_(0, places, True)
        return places, valid.view(len(own), -1) if own else valid


class _Parts:
    """The calls of the widest block in three: on weights, on what is joined, and behind the sums over it."""

    def __init__(self, like: Likeness, number: Mapping[str, int], pieces: _Pieces) -> None:
        self.like, self.pieces = like, pieces
        kinds = like.kinds
        self.count = len(like.results[0])
        self.leaves = [node for node in like.names if kinds[node] == "weight"]
        self.stacks = [node for node in like.names if kinds[node] == "even"]
        self.grown = [node for node in like.aligned if kinds[node] == "grown" and node is not like.join]
        evens = [node for node in like.aligned if kinds[node] == "even" and node not in self.stacks]
        grown = {node for node in evens if any(kinds[one] == "grown" for one in node.all_input_nodes)}
        self.sums = [SumOver(node, like.dim) for node in evens if node in grown]
        self.behind = [node for node in evens if node not in grown]
        self.features = list(dict.fromkeys(one.source for one in self.sums))
        self.operands = self._weights_of(self.grown)
        self.plain = self._weights_of(self.behind)
        if not self.leaves:
            raise PartitionError("they have no weights")

    def _weights_of(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        found = (one for node in nodes for one in node.all_input_nodes if self.like.kinds[one] == "weight")
        return list(dict.fromkeys(found))

    def prepare(self) -> fx.GraphModule:
        """(weights, places, valid) -> operands of `before`, weight and bias of each sum, operands of `after`."""
        wanted = self._prepared()
        nodes = list(dict.fromkeys(one.node for one in wanted))
        body = graph_module(self.leaves, self._made_of_weights(nodes), nodes)

        def prepare(*tensors: Tensor) -> tuple[Tensor, ...]:
            *weights, places, valid = tensors
            rows = [weights[k : k + self.count] for k in range(0, len(weights), self.count)]
            stacked = [_stack(row, leaf, self.like, places, valid) for row, leaf in zip(rows, self.leaves, strict=True)]
            made = dict(zip(nodes, torch.vmap(body)(*stacked), strict=True))
            grows = {node for node in nodes if grown_dims(self.like.aligned[node])}
            return tuple(one.layout(made[one.node], valid if one.node in grows else None) for one in wanted)

        specs = [one.meta["spec"] for leaf in self.leaves for one in self.like.aligned[leaf]]
        return traced(prepare, [*specs, *(spec_of(one, specs[0].device) for one in self.pieces.constants())])

    def _prepared(self) -> list[_Prepared]:
        rank = len(self.like.join.meta["spec"].shape) if self.like.join is not None else 0
        wanted = [_Prepared(node, beside(self.like.dim, rank)) for node in self.operands]
        for one in self.sums:
            wanted.append(_Prepared(one.weight, one.lay_out_weight))
            wanted.append(_Prepared(one.bias or one.weight, one.lay_out_bias if one.bias else one.lay_out_no_bias))
        return [*wanted, *(_Prepared(node, lambda made, _: made) for node in self.plain)]

    def _made_of_weights(self, wanted: Iterable[fx.Node]) -> list[fx.Node]:
        needed, pending = set(), list(wanted)
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                pending += node.all_input_nodes
        return [node for node in self.like.aligned if node in needed and node.op == "call_function"]

    def before(self) -> fx.GraphModule:
        """(joined (1, W, ...), operands) -> features (L or 1, W, ...) of each sum."""
        joined = [] if self.like.join is None else [self.like.join]
        return readable(graph_module([*joined, *self.operands], self.grown, self.features))

    def after(self) -> fx.GraphModule:
        """(their number, sums, stacks, weights) -> the results of blocks."""
        inputs = [*(one.node for one in self.sums), *self.stacks, *self.plain]
        body = graph_module(inputs, self.behind, self.like.outputs)
        decompose(body.graph)
        body.recompile()
        alone = [contiguous(node.meta["spec"]) for node in inputs]
        with torch.no_grad(), FakeTensorMode():
            check_rules(body, list(map(fake, alone)), [False] * len(alone))

        def specs_of(count: int) -> list[TensorSpec]:
            sums = [one.spec_of_all(count) for one in self.sums]
            return [*sums, *(contiguous(spec, count) for spec in alone[len(sums) :])]

        return traced_for_any(torch.vmap(body), specs_of)


def graph_module(inputs: Sequence[fx.Node], calls: Iterable[fx.Node], outputs: Iterable[fx.Node]) -> fx.GraphModule:
    """Some calls of a graph as a module."""
    graph, copied = Graph(), {}
    for node in inputs:
        copied[node] = graph.placeholder(node.name)
        copied[node].meta.update(node.meta)
    for node in calls:
        copied[node] = graph.node_copy(node, lambda source: copied[source])
    graph.output(tuple(copied[node] for node in outputs))
    return fx.GraphModule({}, graph)


def contiguous(spec: TensorSpec, *count: int) -> TensorSpec:
    """The spec of a tensor, or of a stack of so many, that is laid out in order."""
    return spec_of(torch.empty((*count, *spec.shape), dtype=spec.dtype, device="meta"), spec.device)


def _stack(row: Sequence[Tensor], leaf: fx.Node, like: Likeness, places: Tensor, valid: Tensor) -> Tensor:
    """The weights of all blocks, (L, *shape of the widest), with zeros where a block has none."""
    grown = grown_dims(like.aligned[leaf])
    if not grown:
        return torch.stack(list(row))
    if len(grown) > 1:
        raise PartitionError("their weights grow in more than one dimension")
    dim = next(iter(grown))
    parts = torch.cat(list(row), dim).movedim(dim, 0)
    if len(parts) != len(places):
        raise PartitionError("their weights grow otherwise than what they join")
    whole = parts.new_zeros(valid.numel(), *parts.shape[1:]).index_copy(0, places, parts)
    return whole.unflatten(0, valid.shape).movedim(1, dim + 1)
