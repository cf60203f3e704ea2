"""What the values of a body are made of that spreads a sum over entries, of which blocks have more and less."""

from collections.abc import Iterable, Mapping

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.lower.alike.kinds import (
    Aligned,
    Kind,
    call_of,
    check_weight,
    grown_dims,
    place_of,
    shape_of,
    sizes_differ,
)
from fxsolve.ops.access import Convolution, Product, SameEntries, SamePlace


def kinds_behind_sum(aligned: Aligned, given: Mapping[fx.Node, Kind], dim: int) -> dict[fx.Node, Kind]:
    """The kind of each call; `given` are those of the leaves, and of the sum, which is of one size in every block.

    What is made of weights alone is a weight. A product with weights that have more entries in some blocks than in
    others is `grown`, and stays so as long as every entry along `dim` stays by itself. Raises `PartitionError` where
    entries are mixed, or grow along other dimensions.
    """
    kinds = dict(given)
    for node in aligned:
        if node not in kinds:
            kinds[node] = _kind(node, kinds, aligned, dim)
        if kinds[node] == "even" and sizes_differ(aligned[node]):
            raise PartitionError(f"{place_of(node)} makes tensors of other shapes in each")
        if kinds[node] == "grown" and grown_dims(aligned[node]) != (dim,):
            raise PartitionError(f"{place_of(node)} grows along another dimension than what is added")
    return kinds


def keeps_zeros(calls: Iterable[fx.Node], kinds: Mapping[fx.Node, Kind]) -> bool:
    """Whether a zero that calls of a body spread stays one, as weights of zero make it: they are linear in it."""
    return all(_is_linear(node, kinds) for node in calls if kinds[node] == "grown")


def _is_linear(node: fx.Node, kinds: Mapping[fx.Node, Kind]) -> bool:
    """Whether a call that grows is a product with what grows before it, or a gradient of that alone."""
    grown = [source for source in node.all_input_nodes if kinds[source] == "grown"]
    call = call_of(node)
    if call is None or not grown:
        return call is not None  # sums with weights, to which nothing is added
    is_gradient = call.name.endswith("_backward") and next(iter(call.arguments)).startswith("grad")
    return len(grown) == 1 and (call.name == "mul" or (is_gradient and call.first is grown[0]))


def _kind(node: fx.Node, kinds: Mapping[fx.Node, Kind], aligned: Aligned, dim: int) -> Kind:
    sources = node.all_input_nodes
    if all(kinds[source] == "weight" for source in sources):
        check_weight(node, aligned)
        return "weight"
    if any(kinds[source] == "grown" for source in sources):
        if _is_apart(node, kinds):
            return "grown"
        raise PartitionError(f"{place_of(node)} mixes what was spread")
    padded = [source for source in sources if kinds[source] == "weight" and sizes_differ(aligned[source])]
    if not padded:
        return "even"
    if len(padded) == 1 and sizes_differ(aligned[node]) and dim == 1 and _spreads(node, padded[0]):
        return "grown"
    raise PartitionError(f"{place_of(node)} takes weights of other shapes in each")


def _is_apart(node: fx.Node, kinds: Mapping[fx.Node, Kind]) -> bool:
    """Whether each entry of a call reads those at its place of what grows, and weights."""
    call = call_of(node)
    grown = [source for source in node.all_input_nodes if kinds[source] == "grown"]
    is_plain = call is not None and call.fact.access in (SamePlace(), SameEntries())
    is_plain = is_plain and all(shape_of(source) == shape_of(node) for source in grown)
    return is_plain and all(kinds[source] in ("grown", "weight") for source in node.all_input_nodes)


def _spreads(node: fx.Node, weight: fx.Node) -> bool:
    """Whether each entry of a call along one dimension is a sum with weights of its own: those of `weight`."""
    call = call_of(node)
    match call.fact.access if call is not None else None:
        case Convolution():
            return call is not None and call["weight"] is weight and call["groups"] == 1
        case Product(_, right, added):
            return call is not None and call[right] is weight and not added and len(shape_of(weight)) == 2
    return False
