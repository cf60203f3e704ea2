"""Time labels of ops that combine entries along some of their dimensions, and keep the others apart."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.scheduler.labels import NEVER, Timed, labels_of, pointwise


def reduced(value: Timed, dim: Any = None, keepdim: bool = False, **_: Any) -> Timed:
    """Sums and other reductions over `dim`, over all dimensions if there is none."""
    dims = list(range(value.labels.dim())) if dim is None or dim == [] else dim
    return Timed(value.labels.amax(dims, keepdim=keepdim))


def reduced_twice(value: Timed, dim: int, keepdim: bool = False) -> tuple[Timed, Timed]:
    """A reduction and its places."""
    return reduced(value, dim, keepdim), reduced(value, dim, keepdim)


def norm(value: Timed, _: Any = 2, dim: Any = None, keepdim: bool = False, **__: Any) -> Timed:
    """`linalg_vector_norm`, whose dimensions come second."""
    return reduced(value, dim, keepdim)


def along(value: Timed, dim: int = -1, *_: Any, **__: Any) -> Timed:
    """Each entry depends on all entries along `dim`."""
    return Timed(value.labels.amax(dim, keepdim=True).expand(value.labels.shape).contiguous())


def along_twice(value: Timed, dim: int = -1, *_: Any, **__: Any) -> tuple[Timed, Timed]:
    """Sorted values and their places."""
    return along(value, dim), along(value, dim)


def along_both(gradient: Any, output: Any, dim: int, *_: Any) -> Timed:
    """The derivative of an op that combines all entries along `dim`."""
    return along(pointwise(gradient, output), dim)


def cumulative(value: Timed, dim: int, *_: Any, **__: Any) -> Timed:
    """Each entry depends on those before it along `dim`, and on its own."""
    return Timed(value.labels.cummax(dim).values)


def layer_norm(value: Any, shape: Any, weight: Any, bias: Any, *_: Any) -> tuple[Timed, Timed, Timed]:
    """The result, the means and the deviations of `native_layer_norm`."""
    dims = list(range(-len(shape), 0))
    labels = labels_of(value)
    spread = Timed(labels.amax(dims, keepdim=True))
    wide = Timed(spread.labels.expand(labels.shape))
    return pointwise(wide, *(part for part in (weight, bias) if part is not None)), spread, spread


def index_select(value: Any, dim: int, index: Any) -> Timed:
    """x.index_select(dim, index) at places that are not known: any entry along `dim`."""
    return _taken(labels_of(value), dim, labels_of(index).reshape(-1))


def index(value: Any, indices: Any) -> Timed:
    """x[:, index] with known places, or with one tensor of places that are not known."""
    if not any(isinstance(one, Timed) for one in indices):
        return Timed(torch.ops.aten.index.Tensor(value.labels, indices))
    given = [(dim, one) for dim, one in enumerate(indices) if one is not None]
    if len(given) != 1:
        raise NotImplementedError
    (dim, places), labels = given[0], labels_of(value)
    flat = _taken(labels, dim, labels_of(places).reshape(-1))
    return Timed(flat.labels.unflatten(dim, labels_of(places).shape or (1,)).clone())


def _taken(labels: Tensor, dim: int, places: Tensor) -> Timed:
    dim %= labels.dim()
    shape = [len(places) if k == dim else size for k, size in enumerate(labels.shape)]
    entries = places.view([-1 if k == dim else 1 for k in range(labels.dim())])
    return Timed(torch.maximum(labels.amax(dim, keepdim=True).expand(shape), entries))


def scattered(target: Any, value: Any, source: Any, *places: Any) -> Timed:
    """x with entries replaced by those of another: the labels are replaced alike, where the place is known."""
    if any(isinstance(place, Timed) for place in places):
        raise NotImplementedError
    return Timed(target(labels_of(value), labels_of(source), *places))


def placed(value: Any, dim: int, index: Any, source: Any) -> Timed:
    """x with some entries along a dimension replaced by those of another; any entry may be one of them."""
    if isinstance(index, Timed) and bool((index.labels != NEVER).any()):
        raise NotImplementedError
    new = labels_of(source)
    return Timed(torch.maximum(labels_of(value), new.amax(dim, keepdim=True) if new.dim() else new))


def padded(value: Timed, widths: Any, *_: Any) -> Timed:
    """x and entries around it that depend on nothing."""
    return Timed(torch.ops.aten.constant_pad_nd.default(value.labels, widths, NEVER))
