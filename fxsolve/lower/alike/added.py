"""The module that sweeps over blocks that spread a sum of parts: where each value lies, and the calls on all sums."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, fx
from torch.nn.functional import pad

from fxsolve.errors import PartitionError
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.lower.alike.align import Summand
from fxsolve.lower.alike.build import contiguous, graph_module
from fxsolve.lower.alike.gradients import mix_channels
from fxsolve.lower.alike.kinds import grown_dims
from fxsolve.lower.alike.match import Likeness
from fxsolve.lower.alike.spread import keeps_zeros
from fxsolve.lower.alike.traced import fake, traced, traced_for_any
from fxsolve.lower.decompose import decompose
from fxsolve.lower.trace import check_rules
from fxsolve.solvers.added import AddedWiring, AlikeAdded, Segment
from fxsolve.torch_compat.batches import FakeTensorMode


def build_added(
    like: Likeness, number: Mapping[str, int], sizes: Mapping[str, int], levels: Sequence[int]
) -> AlikeAdded:
    """The module for blocks of some `levels`; `number` is that of named values, `sizes` those along the dimension.

    Raises `PartitionError` where parts lie otherwise in each value, or a call has no batching rule.
    """
    own, kinds = _own_values(like), like.kinds
    leaves = [node for node in like.names if kinds[node] == "weight"]
    if not leaves:
        raise PartitionError("they have no weights")
    if any(kinds[node] == "even" for node in like.names):
        raise PartitionError("they read more of others than the parts that they add up")
    placed = _Placed(like.terms, own, sizes)
    wiring = AddedWiring(
        weights=tuple(number[name] for leaf in leaves for name in like.names[leaf]),
        others=tuple((number[name], place) for name, place in placed.values.items() if name not in own),
        parts=placed.parts,
        places=tuple(Segment(start, size) for start, size in placed.within()),
        own=placed.own,
        size=placed.size,
        dim=like.dim,
        results=(tuple(number[name] for name in own),),
        levels=tuple(levels),
    )
    parts = _SpreadCalls(like, leaves, placed, own)
    return AlikeAdded(parts.prepare(), parts.body(), wiring, parts.missing)


def _own_values(like: Likeness) -> list[str]:
    """The value that each block gives."""
    if len(like.results) != 1 or None in like.results[0]:
        raise PartitionError("others read more of them than one gradient")
    return [name for name in like.results[0] if name is not None]


class _Placed:
    """Where values lie among `size` entries so that every part of them lies where its block adds it up."""

    def __init__(self, terms: Sequence[Sequence[Summand]], own: Sequence[str], sizes: Mapping[str, int]) -> None:
        self.names = list(dict.fromkeys([*own, *(term.name for row in terms for term in row)]))
        self.sizes, self.terms = sizes, terms
        if any(name not in sizes for name in self.names):
            raise PartitionError("the sizes of what they add up are not known")
        self.size = max(sizes[name] for name in self.names)
        self.widest, self.own_names = max(sizes[name] for name in own), own
        found = next((one for one in map(self._placed, (False, True)) if one is not None), None)
        if found is None:
            raise PartitionError("what they add up lies at other places in each value")
        self.values, self.parts = found
        self.own = next(self.values[name] for name in own if sizes[name] == self.widest)

    def within(self) -> list[tuple[int, int]]:
        """Start and size of the value of each block among the entries of the widest of them."""
        places = (self.values[name] for name in self.own_names)
        return [(place.start - self.own.start, place.size) for place in places]

    def _placed(self, at_end: bool) -> tuple[dict[str, Segment], tuple[Segment, ...]] | None:
        """The places of all values, all of them at one end, and of the sum of each block; None where they differ."""
        start = {name: (self.size - self.sizes[name]) * at_end for name in self.names}
        values = {name: Segment(start[name], self.sizes[name]) for name in self.names}
        parts = []
        for row in self.terms:
            found = {Segment(start[term.name] + term.start, term.stop - term.start) for term in row}
            readable = {name for name, place in values.items() if _overlap(place, next(iter(found)))}
            if len(found) > 1 or readable != {term.name for term in row}:
                return None
            parts += found
        return values, tuple(parts)


def _overlap(one: Segment, other: Segment) -> bool:
    return max(one.start, other.start) < min(one.start + one.size, other.start + other.size)


class _SpreadCalls:
    """The calls of the widest block in two: on weights alone, and on the sum."""

    def __init__(self, like: Likeness, leaves: Sequence[fx.Node], placed: _Placed, own: Sequence[str]) -> None:
        self.like, self.leaves, self.count = like, leaves, len(own)
        self.lies = [(start, size, placed.widest) for start, size in placed.within()]
        kinds = like.kinds
        calls = [node for node in like.aligned if node not in like.names and node is not like.added]
        self.behind = [node for node in calls if kinds[node] != "weight"]
        read = dict.fromkeys(source for node in self.behind for source in node.all_input_nodes)
        self.wanted = [node for node in read if kinds[node] == "weight"]
        self.early = [node for node in calls if kinds[node] == "weight"]
        self.missing = () if keeps_zeros(self.behind, kinds) else (self._missing(like.outputs[0]),)

    def _missing(self, output: fx.Node) -> Tensor:
        """Which entries of the widest each block does not have, beside what a block gives."""
        missing = torch.ones(self.count, self.lies[0][2], dtype=torch.bool)
        for row, (start, size, _) in zip(missing, self.lies, strict=True):
            row[start : start + size] = False
        rank = len(output.meta["spec"].shape)
        return missing.view([-1, *(self.lies[0][2] if dim == self.like.dim else 1 for dim in range(rank))])

    def prepare(self) -> fx.GraphModule:
        """(weights) -> what calls behind the sum read of them, (L, *shape of the widest) each."""
        module = graph_module(self.leaves, self.early, self.wanted)

        def prepare(*given: Tensor) -> tuple[Tensor, ...]:
            weights, missing = given[: len(specs)], given[len(specs) :]
            rows = [weights[k : k + self.count] for k in range(0, len(weights), self.count)]
            stacked = [self._stack(row, leaf) for row, leaf in zip(rows, self.leaves, strict=True)]
            return *torch.vmap(module)(*stacked), *missing

        specs = [node.meta["spec"] for leaf in self.leaves for node in self.like.aligned[leaf]]
        return traced(prepare, [*specs, *(spec_of(one, specs[0].device) for one in self.missing)])

    def _stack(self, row: Sequence[Tensor], leaf: fx.Node) -> Tensor:
        """The weights of all blocks, with zeros where a block has none."""
        grown = grown_dims(self.like.aligned[leaf])
        if len(grown) > 1:
            raise PartitionError("their weights grow in more than one dimension")
        return torch.stack([self._wide(*pair, *grown) for pair in zip(row, self.lies, strict=True)])

    def _wide(self, weight: Tensor, lies: tuple[int, int, int], *grown: int) -> Tensor:
        if not grown:
            return weight
        start, size, whole = lies
        if weight.shape[grown[0]] != size:
            raise PartitionError("their weights grow otherwise than what they give")
        behind = weight.dim() - 1 - grown[0]
        return pad(weight, [*[0, 0] * behind, start, whole - size - start])

    def body(self) -> fx.GraphModule:
        """(their number, the sums, weights) -> what the blocks give."""
        assert self.like.added is not None
        inputs = [self.like.added, *self.wanted]
        module = graph_module(inputs, self.behind, self.like.outputs)
        mix_channels(module.graph)
        decompose(module.graph)
        module.recompile()
        alone = [contiguous(node.meta["spec"]) for node in inputs]
        with torch.no_grad(), FakeTensorMode():
            check_rules(module, list(map(fake, alone)), [False] * len(alone))

        def body(*given: Tensor) -> tuple[Tensor, ...]:
            (made,) = torch.vmap(module)(*given[: len(inputs)])
            return (reduce(lambda left, missing: left.masked_fill(missing, 0), given[len(inputs) :], made),)

        def specs_of(count: int) -> list[TensorSpec]:
            missing = (
                spec_of(one[:1].expand(count, *one.shape[1:]).contiguous(), alone[0].device) for one in self.missing
            )
            return [*(contiguous(spec, count) for spec in alone), *missing]

        return traced_for_any(body, specs_of)
