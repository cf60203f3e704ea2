"""What the values of a body are made of: weights, a list that grows, or what is of one size in every block."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import Convolution, Expanded, Permuted, Product, Reshaped, SameEntries, SamePlace
from fxsolve.ops.call import Call, bind
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.operators import OpOverload

Kind = Literal["weight", "grown", "even"]
_APART = (SamePlace(), SameEntries(), Permuted(), Reshaped(), Expanded())  # those that keep entries by themselves
Aligned = Mapping[fx.Node, tuple[fx.Node, ...]]


def kinds_of(aligned: Aligned, given: Mapping[fx.Node, Kind], dim: int) -> dict[fx.Node, Kind]:
    """The kind of each call; `given` are those of the leaves, and of what is joined along `dim`.

    What is made of weights alone is a weight. What holds a list that grows is `grown`, as long as every entry along
    `dim` stays by itself; a sum over them, with weights, is of one size: weights of zero leave out what a block does
    not read. Raises `PartitionError` where entries are mixed otherwise.
    """
    kinds = dict(given)
    for node in aligned:
        if node not in kinds:
            kinds[node] = _kind(node, kinds, dim)
        if kinds[node] == "weight":
            check_weight(node, aligned)
        if kinds[node] == "even" and sizes_differ(aligned[node]):
            raise PartitionError(f"{place_of(node)} makes tensors of other shapes in each")
    for node, kind in kinds.items():
        if kind == "even" and any(_of_other_sizes(source, kinds, aligned) for source in _plain_inputs(node, kinds)):
            raise PartitionError(f"{place_of(node)} takes weights of other shapes in each")
    return kinds


def check_weight(node: fx.Node, aligned: Aligned) -> None:
    """Raise `PartitionError` where weights are made of zeros too that stand in for what smaller ones do not have."""
    padded = any(one in aligned and sizes_differ(aligned[one]) for one in node.all_input_nodes)
    if padded and access_of(node.target) not in _APART:
        raise PartitionError(f"{place_of(node)} mixes weights of other shapes in each")


def _kind(node: fx.Node, kinds: Mapping[fx.Node, Kind], dim: int) -> Kind:
    found = {kinds[source] for source in node.all_input_nodes}
    if "grown" in found:
        return _kind_of_grown(node, kinds, dim)
    return "even" if "even" in found else "weight"


def _kind_of_grown(node: fx.Node, kinds: Mapping[fx.Node, Kind], dim: int) -> Kind:
    call = call_of(node)
    grown = [source for source in node.all_input_nodes if kinds[source] == "grown"]
    is_apart = call is not None and call.fact.access in (SamePlace(), SameEntries())
    is_apart = is_apart and not any(kinds[source] == "even" for source in node.all_input_nodes)
    if is_apart and shape_of(node) == shape_of(grown[0]):
        return "grown"
    parts = contracted(call, dim) if call is not None else None
    if parts is not None and grown == [parts[0]] and all(one is None or kinds[one] == "weight" for one in parts[1:]):
        return "even"
    raise PartitionError(f"{place_of(node)} mixes what is joined, other than by weights")


def contracted(call: Call, dim: int) -> tuple[Any, Any, Any] | None:
    """(x, weight, bias) of a sum over the entries of x along `dim`, with weights."""
    match call.fact.access:
        case Convolution():
            is_plain = not call["transposed"] and call["groups"] == 1 and dim == 1
            return (call["input"], call["weight"], call["bias"]) if is_plain else None
        case Product(left, right, added):
            bias = call[added] if added else None
            is_plain = call["alpha"] in (None, 1) and call["beta"] in (None, 1)
            is_matrix = len(shape_of(call[left])) == 2 == len(shape_of(call[right])) and dim == 1
            is_vector = bias is None or len(shape_of(bias)) == 1
            return (call[left], call[right], bias) if is_plain and is_matrix and is_vector else None
    return None


def call_of(node: fx.Node) -> Call | None:
    """A call of an operator with its arguments by name."""
    if not isinstance(node.target, OpOverload):
        return None
    return bind(node.target, node.args, node.kwargs, node.meta.get("spec"))


def _plain_inputs(node: fx.Node, kinds: Mapping[fx.Node, Kind]) -> Iterator[fx.Node]:
    """What a call reads that is no part of a sum over what grows."""
    if any(kinds.get(source) == "grown" for source in node.all_input_nodes):
        return iter(())
    return iter(node.all_input_nodes)


def _of_other_sizes(node: fx.Node, kinds: Mapping[fx.Node, Kind], aligned: Aligned) -> bool:
    return kinds[node] == "weight" and sizes_differ(aligned[node])


def sizes_differ(nodes: tuple[fx.Node, ...]) -> bool:
    return len({shape_of(node) for node in nodes}) > 1


def shape_of(node: fx.Node) -> tuple[int, ...]:
    spec = node.meta.get("spec")
    return spec.shape if isinstance(spec, TensorSpec) else ()


def grown_dims(nodes: tuple[fx.Node, ...]) -> tuple[int, ...]:
    """The dimensions along which tensors differ in size."""
    shapes = [shape_of(node) for node in nodes]
    if len({len(shape) for shape in shapes}) > 1:
        raise PartitionError(f"{place_of(nodes[-1])} has other dimensions in each")
    return tuple(dim for dim, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1)


def place_of(node: fx.Node) -> str:
    return str(node.meta.get("source") or node.name)
