"""Calls that replace one entry of a tensor are written as `select_scatter`, by which buffers of loops are known.

    where(arange(n) == k, y, x)    x.index_copy(1, k, y)    x.scatter(1, k, y)    x[arange(B), k] = y

are all x with entry k along a dimension replaced, where k is a constant. Which entries of a result are entries of what
is told by the call itself, made of tensors whose entries are numbered. The values are the same, bit for bit.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from fxsolve.capture.program import Program
from fxsolve.ir.builder import add_call
from fxsolve.ops.access import Chosen, Copied, Put, Scattered
from fxsolve.ops.call import Call, bind
from fxsolve.ops.facts import access_of
from fxsolve.ops.origins import origins
from fxsolve.rewrite.recorded.constants import Constants
from fxsolve.torch_compat.graphs import Graph, find_calls
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten

_Move = tuple[fx.Node, Call]


@dataclass(frozen=True)
class EntriesWritten:
    """A graph, and the attributes whose values it rests on."""

    graph: fx.Graph
    rested: tuple[str, ...] = ()


@dataclass(frozen=True)
class _EntryWrite:
    """`node` is `base` with entry `index` along `dim` replaced by `value`; or by entry `place[1]` of it along the
    dimension `place[0]`."""

    node: fx.Node
    base: fx.Node
    dim: int
    index: int
    value: fx.Node
    place: tuple[int, int] | None


@dataclass
class _Numbered:
    """Tensors whose entries are numbered, and the tensors of the graph that they stand for."""

    count: int = 0
    numbers: dict[fx.Node, Tensor] = field(default_factory=dict)

    def of(self, node: fx.Node) -> Tensor:
        if node not in self.numbers:
            shape = node.meta["spec"].shape
            size = math.prod(shape)
            self.numbers[node] = torch.arange(self.count, self.count + size).view(shape)
            self.count += size
        return self.numbers[node]


def write_entries(graph: fx.Graph, program: Program) -> EntriesWritten:
    """A copy of `graph` with `select_scatter` in the place of such calls; the graph itself if there are none."""
    moving = find_calls(graph, lambda target: isinstance(access_of(target), (Chosen, Copied, Scattered, Put)))
    if not moving:
        return EntriesWritten(graph)
    constants = Constants(graph, program)
    moves = [(node, call) for node in moving if (call := _move_of(node, constants)) is not None]
    constants.find(one for _, call in moves for one in _others(call))
    found = [write for group in _alike(moves).values() for write in _writes_of(group, constants)]
    if not found:
        return EntriesWritten(graph)
    copies: dict[fx.Node, fx.Node] = {}
    copied = Graph.copy_of(graph, copies)
    for write in found:
        copies[write.node] = _rewritten(copied, copies, write)
    return EntriesWritten(copied, tuple(sorted(constants.rested)))


def _move_of(node: fx.Node, constants: Constants) -> Call | None:
    """A call that moves entries, if they are those of tensors of one type, and go to places that are constant."""
    if node in constants:
        return None
    assert isinstance(node.target, OpOverload)
    call = bind(node.target, node.args, node.kwargs, node.meta["spec"])
    moved, others = _moved(call), _others(call)
    is_alike = len(moved) > 1 and all(one.meta["spec"].dtype == call.example.dtype for one in moved)
    return call if is_alike and others and all(one in constants for one in others) else None


def _alike(moves: list[_Move]) -> dict[Hashable, list[_Move]]:
    """The calls of one op, line and form together: steps of a loop are left alike, or all written in another way."""
    groups: dict[Hashable, list[_Move]] = defaultdict(list)
    for node, call in moves:
        groups[node.target, node.meta.get("source"), node.meta["spec"]].append((node, call))
    return groups


def _writes_of(moves: list[_Move], constants: Constants) -> list[_EntryWrite]:
    """The writes that calls are, if all of them are one."""
    writes: list[_EntryWrite] = []
    for node, call in moves:
        write = _write_of(node, call, constants)
        if write is None:
            return []
        writes.append(write)
    return writes


def _moved(call: Call) -> list[fx.Node]:
    """The tensors whose entries are those of the result; none where some of these are numbers."""
    leaves = [call[name] for name in origins(call)]
    return leaves if all(isinstance(leaf, fx.Node) for leaf in leaves) else []


def _others(call: Call) -> list[fx.Node]:
    """The tensors that tell where entries go."""
    leaves = [pytree.tree_leaves(value) for name, value in call.arguments.items() if name not in origins(call)]
    return [leaf for group in leaves for leaf in group if isinstance(leaf, fx.Node)]


def _write_of(node: fx.Node, call: Call, constants: Constants) -> _EntryWrite | None:
    """The write of one entry that a call is, if it is one."""
    others = {one: constants.of(one).cpu() for one in _others(call)}
    if isinstance(call.fact.access, Chosen) and not any(map(_picks_one, others.values())):
        return None  # most masks are large, and pick many
    numbered = _Numbered()
    moved = {name: numbered.of(call[name]) for name in origins(call)}
    told = {name: fx.map_arg(call[name], others.get) for name in call.arguments if name not in moved}
    result = call.run({**told, **moved})
    for base, dim, index in _places(numbered, result):
        written = _entry(numbered, result.select(dim, index))
        if written is not None:
            return _EntryWrite(node, base, dim, index, *written)
    return None


def _picks_one(mask: Tensor) -> bool:
    """Whether a mask is true, or false, at one entry along one of its dimensions."""
    return any(int(one.any(rest).sum()) == 1 for one in (mask, ~mask) for _, rest in _dims(mask))


def _dims(x: Tensor) -> Iterator[tuple[int, list[int]]]:
    """The dimensions that have several entries, each with all others."""
    for dim, size in enumerate(x.shape):
        if size > 1:
            yield dim, [k for k in range(x.dim()) if k != dim]


def _places(numbered: _Numbered, result: Tensor) -> Iterator[tuple[fx.Node, int, int]]:
    """The tensors of which the result is all but one entry along a dimension: the tensor, the dimension, the entry."""
    for base, numbers in numbered.numbers.items():
        if numbers.shape == result.shape:
            differs = numbers != result
            for dim, rest in _dims(result):
                places = differs.sum(rest) if rest else differs
                if int((places > 0).sum()) == 1:
                    yield base, dim, int(places.argmax())


def _entry(numbered: _Numbered, written: Tensor) -> tuple[fx.Node, tuple[int, int] | None] | None:
    """The tensor that has these entries; or which entry of a tensor."""
    first = int(written.flatten()[0])
    for node, numbers in numbered.numbers.items():
        if _shows(numbers, written):
            return node, None
        offset = first - int(numbers.flatten()[0])
        if 0 <= offset < numbers.numel():
            index = torch.unravel_index(torch.tensor(offset), numbers.shape)
            places = ((dim, int(index[dim])) for dim in range(numbers.dim()))
            return next(((node, place) for place in places if _shows(numbers.select(*place), written)), None)
    return None


def _shows(numbers: Tensor, written: Tensor) -> bool:
    """Whether these are the entries, but for dimensions along which they are repeated."""
    sizes = zip(reversed(numbers.shape), reversed(written.shape), strict=False)
    fits = numbers.dim() <= written.dim() and all(a in (1, b) for a, b in sizes)
    return fits and torch.equal(numbers.expand(written.shape), written)


def _rewritten(graph: fx.Graph, copies: dict[fx.Node, fx.Node], write: _EntryWrite) -> fx.Node:
    """What stands for a call; the call itself where its result lies in memory in another way."""
    node, base, value = copies[write.node], copies[write.base], copies[write.value]
    shape = [size for dim, size in enumerate(node.meta["spec"].shape) if dim != write.dim]
    with graph.inserting_before(node):
        if write.place is not None:
            value = add_call(graph, aten.select.int, (value, *write.place), like=node)
        if list(value.meta["spec"].shape) != shape:
            value = add_call(graph, aten.expand.default, (value, shape), like=node)
        made = add_call(graph, aten.select_scatter.default, (base, value, write.dim, write.index), like=node)
    if made.meta["spec"] != node.meta["spec"]:
        return node
    node.replace_all_uses_with(made)
    graph.erase_node(node)
    return made
