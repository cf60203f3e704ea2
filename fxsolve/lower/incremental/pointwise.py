"""Pointwise ops at places: the op on what stands there in all arguments."""

from collections.abc import Sequence

from torch import Tensor, fx

from fxsolve.lower.incremental.layout import form_at
from fxsolve.lower.incremental.places import Places, project
from fxsolve.lower.incremental.values import StepValues
from fxsolve.ops.call import Call
from fxsolve.torch_compat.trees import pytree


def same_place(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """The op on what stands at these places in all arguments, which are broadcast."""
    if not isinstance(call.example, Tensor):
        return None
    shape = call.example.shape
    given = pytree.tree_map_only(fx.Node, lambda node: broadcast(values, node, places, shape), dict(call.arguments))
    return call.run(given).expand(places.count, *form_at(shape, places.dims))


def broadcast(values: StepValues, node: fx.Node, places: Places, shape: Sequence[int]) -> Tensor:
    """A value that is broadcast to `shape`, at places of that; whole where it is the same at all of them."""
    own = node.meta["val"].shape
    missing = len(shape) - len(own)
    onto = {dim: dim - missing for dim in places.dims if dim >= missing and own[dim - missing] != 1}
    if not onto:
        return values.whole(node)
    found = values.at(node, project(places, shape, onto, own))
    return found.reshape(-1, *(1 for _ in range(missing)), *found.shape[1:])
