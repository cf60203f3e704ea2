"""Labels where places are values: looking up, gathering, scattering. A place that is not known may be any."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.ops.access import Copied
from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import (
    NEVER,
    Entries,
    abstract_in,
    broadcast,
    entries,
    entries_of,
    latest_in,
    latest_of,
)

_Given = dict[int, Tensor | Entries]


def look_up(call: Call) -> Entries:
    """weight[indices]: (V, *), (*I) -> (*I, *)."""
    places, weight = entries_of(call["indices"]), entries_of(call["weight"])
    rows = weight.latest.amax(0)
    wide = places.latest.reshape(*places.shape, *(1 for _ in rows.shape))
    return entries(torch.maximum(wide, rows))


def selected(call: Call) -> Entries:
    """x.index_select(dim, index)."""
    value, index = entries_of(call["self"]), call["index"]
    if not isinstance(index, Entries):
        return value.all_alike(lambda part: part.index_select(call["dim"], index))
    return _taken(value, call["dim"], index.latest.reshape(-1))


def _taken(value: Entries, dim: int, places: Tensor) -> Entries:
    """Any entries along `dim` in the place of each, by labels of the places, (N,)."""
    dim %= value.latest.dim()
    labels = places.view([-1 if k == dim else 1 for k in range(value.latest.dim())])
    return entries(torch.maximum(value.latest.amax(dim, keepdim=True), labels))


def gathered(call: Call) -> Entries:
    """x.gather(dim, index)."""
    value, dim, index = entries_of(call["self"]), call["dim"], call["index"]
    if not isinstance(index, Entries):
        return value.all_alike(lambda part: part.gather(dim, index))
    most = value.latest.amax(dim, keepdim=True)
    dim %= most.dim()
    here = tuple(slice(None) if k == dim else slice(0, size) for k, size in enumerate(index.shape))
    return entries(torch.maximum(most[here], index.latest))


def indexed(call: Call) -> Entries:
    """x[:, index] with known places, or with places of which some are not known."""
    value, indices = entries_of(call["self"]), call["indices"]
    if not abstract_in(indices):
        return value.all_alike(lambda part: call.run({"self": part.contiguous()}))
    given = {dim: one for dim, one in enumerate(indices) if one is not None}
    if len(given) > 1:
        return _indexed_apart(value, given)
    ((dim, places),) = given.items()
    if call.example is None:
        raise NotImplementedError
    if call.example.shape != (*value.shape[:dim], *places.shape, *value.shape[dim + 1 :]):
        raise NotImplementedError  # a mask: how many entries it picks is not known
    labels = places.latest.reshape(-1)
    if places.shape == value.shape[dim : dim + 1]:  # maybe a mask, of which all places tell where an entry comes to be
        labels = labels.amax().expand(labels.shape)
    found = _taken(value, dim, labels)
    return found.all_alike(lambda part: part.unflatten(dim, places.shape or (1,)).reshape(call.example.shape))


def _indexed_apart(value: Entries, given: _Given) -> Entries:
    """At several places, any of those that are not known, of entries which stay apart along the other dimensions."""
    labels = _labels_of_places(value, given)
    index = [
        torch.zeros_like(labels) if isinstance(one, Entries) else one.expand(labels.shape) for one in given.values()
    ]
    any_of = [dim for dim, one in given.items() if isinstance(one, Entries)]
    found = value.latest.amax(any_of, keepdim=True)[(*[slice(None)] * min(given), *index)]
    return entries(torch.maximum(found, _with_rest(labels, value, given)))


def copied(call: Call) -> Entries:
    """x with slices along a dimension replaced by those of another; any may be, where places are not known."""
    fact = call.fact.access
    assert isinstance(fact, Copied)
    value, dim, index = entries_of(call["self"]), call["dim"], call["index"]
    source = entries_of(call[fact.source], value.latest.device)
    if isinstance(index, Entries):
        new = source.latest.amax(dim, keepdim=True) if source.latest.dim() else source.latest
        return entries(torch.maximum(value.latest, torch.maximum(new, index.latest.max())))
    shape = [index.numel() if k == dim % value.latest.dim() else n for k, n in enumerate(value.shape)]
    if index.unique().numel() < index.numel():
        raise NotImplementedError
    pairs = zip((value.latest, value.zero, value.low), (source.latest, source.zero, source.low), strict=True)
    return Entries(*(one.index_copy(dim, index.reshape(-1), new.expand(shape)) for one, new in pairs))


def scattered(call: Call) -> Entries:
    """x with entries along a dimension replaced: any may be, of those that share their other places."""
    value, dim, index = entries_of(call["self"]), call["dim"], entries_of(call["index"])
    source = call["src"] if "src" in call.arguments else call["value"]
    new = torch.maximum(index.latest, _corner(entries_of(source).latest, index.shape))
    dim %= max(value.latest.dim(), 1)
    most = new.amax(dim, keepdim=True).expand([value.shape[k] if k == dim else n for k, n in enumerate(new.shape)])
    missing = [side for k in reversed(range(most.dim())) for side in (0, value.shape[k] - most.shape[k])]
    return entries(torch.maximum(value.latest, F.pad(most, missing, value=NEVER)))


def _corner(latest: Tensor, shape: torch.Size) -> Tensor:
    """Of the entries of a source those that are read: as many as there are places, from the first on."""
    return latest[tuple(slice(0, size) for size in shape)] if latest.dim() else latest


def added(call: Call) -> Entries:
    """x with slices of another added along a dimension; at any place, where places are not known."""
    value, dim, index = entries_of(call["self"]), call["dim"], call["index"]
    source = entries_of(call["source"])
    if not value.latest.dim() or isinstance(index, Entries):
        raise NotImplementedError
    rank = value.latest.dim()
    places = index.view([-1 if k == dim % rank else 1 for k in range(rank)]).expand(source.shape)
    latest = value.latest.scatter_reduce(dim, places, source.latest, "amax")
    zero = value.zero.int().scatter_reduce(dim, places, source.zero.int(), "amin").bool()
    return entries(latest, zero)


def put(call: Call) -> Entries:
    """x[indices] = values, at places that are known: which of several values at one place stays, is not."""
    value, values = entries_of(call["self"]), entries_of(call["values"])
    if abstract_in(call["indices"]):
        return _put_anywhere(value, values, {k: one for k, one in enumerate(call["indices"]) if one is not None})

    def placed(into: Tensor, new: Tensor, accumulate: bool = False) -> Tensor:
        return call.run({"self": into.contiguous(), "values": new, "accumulate": accumulate})

    blank = torch.zeros(value.shape, dtype=torch.long, device=value.latest.device)
    times = placed(blank, blank.new_ones(()), accumulate=True)
    if bool((times > 1).any()):
        values = _all_alike(values)
    zero, low = placed(value.zero, values.zero), placed(value.low, values.low)
    latest = placed(value.latest, values.latest)
    if call["accumulate"]:
        return entries(torch.maximum(latest, value.latest), zero & value.zero)
    return entries(latest, zero, low)


def _put_anywhere(value: Entries, values: Entries, given: _Given) -> Entries:
    """As `put`, where some of the places are not known; along dimensions in which all are, entries stay apart."""
    labels, (first, last) = _labels_of_places(value, given), (min(given), max(given) + 1)
    front, rest = value.shape[:first], value.shape[last:]
    new = torch.maximum(_with_rest(labels, value, given), values.latest).expand(*front, *labels.shape, *rest)
    sizes = [1 if isinstance(one, Entries) else value.shape[k] for k, one in given.items()]
    number = torch.zeros_like(labels)
    for size, one in zip(sizes, given.values(), strict=True):
        number = number * size + (0 if isinstance(one, Entries) else one % size)
    rows = new.flatten(first, first + labels.dim() - 1)
    index = number.reshape([-1 if k == first else 1 for k in range(rows.dim())]).expand(rows.shape)
    blank = labels.new_full((*front, math.prod(sizes), *rest), NEVER)
    found = blank.scatter_reduce(first, index, rows, "amax").unflatten(first, sizes)
    return entries(torch.maximum(value.latest, found.expand(value.shape)))


def _labels_of_places(value: Entries, given: _Given) -> Tensor:
    """The labels of places along dimensions that follow one another, in the shape in which they are broadcast."""
    is_one_run = max(given) + 1 - min(given) == len(given)
    if not is_one_run or any(_may_be_mask(value, *one) for one in given.items()):
        raise NotImplementedError
    return latest_of(broadcast(given.values()))


def _with_rest(labels: Tensor, value: Entries, given: _Given) -> Tensor:
    """Labels of places beside the dimensions of a value that lie behind those of the places."""
    return labels.reshape(*labels.shape, *(1 for _ in value.shape[max(given) + 1 :]))


def _may_be_mask(value: Entries, dim: int, index: Tensor | Entries) -> bool:
    """Whether an index may tell by its form, or tells by its type, which entries are meant, and not where they are."""
    rank = len(index.shape)
    return not rank or (
        index.dtype == torch.bool if isinstance(index, Tensor) else index.shape == value.shape[dim : dim + rank]
    )


def _all_alike(value: Entries) -> Entries:
    """What holds of all entries, as one entry."""
    latest = torch.full((), latest_in(value), device=value.latest.device)
    return Entries(latest, value.zero.all(), value.low.all())
