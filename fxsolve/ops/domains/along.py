"""Labels of ops that combine entries along some of their dimensions, and keep the others apart."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.access import Cumulative, Reduced, Softmax
from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import NEVER, Entries, broadcast, entries, entries_of, is_free, latest_of
from fxsolve.torch_compat.trees import pytree


def _dims(dim: Any, count: int) -> list[int]:
    """The dimensions that are combined: all of them where none is named."""
    if dim is None or dim == []:
        return list(range(count))
    return [one % max(count, 1) for one in ([dim] if isinstance(dim, int) else dim)]


def reduced(call: Call) -> Any:
    """Each entry depends on all entries along `dim`."""
    fact = call.fact.access
    assert isinstance(fact, Reduced)
    values = broadcast(_tensors(call))
    dims = _dims(call[fact.dim] if fact.dim in call.arguments else _last_if_sorted(call), values[0].latest.dim())
    zero = values[0].zero.all(dims[0], keepdim=True) if len(dims) == 1 and _is_zero_of_zeros(call) else None
    return _spread(call.example, _amax(latest_of(values), dims), dims, zero)


def _is_zero_of_zeros(call: Call) -> bool:
    """Whether the result of zeros is 0: it is computed for the smallest of them; places are no numbers to trust in."""
    value, example = call.first, call.example
    if not isinstance(value, Entries) or len(_tensors(call)) > 1 or not isinstance(example, Tensor):
        return False
    if not example.is_floating_point() or not bool(value.zero.any()):
        return False
    zeros = torch.zeros((1,) * value.latest.dim(), dtype=example.dtype)
    try:
        return bool((call.run({next(iter(call.arguments)): zeros}) == 0).all())
    except RuntimeError:  # `glu` takes no single entry
        return False


def _last_if_sorted(call: Call) -> int | None:
    """Overloads without a dimension combine all; those that order entries do so along the last one."""
    return -1 if call.name in ("sort", "argsort", "topk") else None


def softmax(call: Call) -> Any:
    """As `reduced`; an entry that is hidden by a mask takes no part, if any entry beside it does."""
    fact = call.fact.access
    assert isinstance(fact, Softmax)
    value = entries_of(call.first)
    dims = _dims(call[fact.dim], value.latest.dim())
    hidden = value.low & ~value.low.flatten().all() if len(dims) != 1 else value.low & ~value.low.all(dims[0], True)
    latest = _amax(torch.where(hidden, NEVER, value.latest), dims)
    if call.name == "logsumexp":
        return _spread(call.example, latest, dims, None)
    wide = latest.expand(value.shape)
    return entries(wide, None, hidden) if "log" in call.name else entries(wide, hidden)


def cumulative(call: Call) -> Any:
    """Each entry depends on those before it along `dim`, and on its own."""
    fact = call.fact.access
    assert isinstance(fact, Cumulative)
    value = entries_of(call.first)
    latest = value.latest.cummax(call[fact.dim]).values if value.latest.dim() else value.latest
    return pytree.tree_map_only(Tensor, lambda _: entries(latest), call.example)


def layer_norm(call: Call) -> Any:
    """The result, and the means and deviations."""
    value = entries_of(call["input"])
    parameters = [entries_of(one).latest for one in (call["weight"], call["bias"]) if one is not None]
    dims = list(range(-len(call["normalized_shape"]), 0))
    spread = _amax(value.latest, dims)
    wide = spread.expand(value.shape)
    for latest in parameters:
        wide = torch.maximum(wide, latest)
    if isinstance(call.example, Tensor):
        return entries(wide)
    return (entries(wide), *(entries(spread.expand(one.shape)) for one in call.example[1:]))


def group_norm(call: Call) -> Any:
    """The channels of a group and all their places, for each sample."""
    value = entries_of(call["input"])
    if not is_free([call["weight"], call["bias"]]):
        raise NotImplementedError
    groups = value.latest.reshape(value.shape[0], call["group"], -1)
    latest = groups.amax(2)
    wide = latest[..., None].expand(groups.shape).reshape(value.shape)
    return (entries(wide), *(entries(latest.reshape(one.shape)) for one in call.example[1:]))


def batch_norm(call: Call) -> Any:
    """All samples and places of a channel in training; otherwise a factor and a term for each channel."""
    value = entries_of(call["input"])
    others = [call[name] for name in ("weight", "bias", "running_mean", "running_var")]
    if not is_free(others):
        raise NotImplementedError
    is_training = call["training"] if "training" in call.arguments else False
    dims = [dim for dim in range(value.latest.dim()) if dim != 1]
    channel = _amax(value.latest, dims)
    latest = channel.expand(value.shape) if is_training else value.latest
    spread = channel.flatten()
    results = pytree.tree_leaves(call.example)
    rest = (_fitting(spread, one) for one in results[1:])
    return (entries(latest), *rest)


def _fitting(latest: Tensor, example: Tensor) -> Entries:
    """Statistics of channels; some kernels return none of them, and some a workspace."""
    if example.shape == latest.shape:
        return entries(latest)
    return entries(latest.max().expand(example.shape))


def _tensors(call: Call) -> list[Any]:
    leaves = pytree.tree_leaves(list(call.arguments.values()))
    return [leaf for leaf in leaves if isinstance(leaf, Entries | Tensor)]


def _amax(labels: Tensor, dims: list[int]) -> Tensor:
    return labels.amax(dims, keepdim=True) if labels.dim() else labels


def _spread(example: Any, latest: Tensor, dims: list[int], zero: Tensor | None) -> Any:
    """Results with the combined dimensions kept, of size 1 or of any other, or without them."""

    def fit(part: Tensor, result: Tensor) -> Tensor:
        if result.dim() == part.dim():
            return part.expand(result.shape)
        kept = [size for dim, size in enumerate(part.shape) if dim not in dims]
        return part.reshape(kept).expand(result.shape)

    def spread(result: Tensor) -> Entries:
        return entries(fit(latest, result), None if zero is None else fit(zero, result))

    return pytree.tree_map_only(Tensor, spread, example)
