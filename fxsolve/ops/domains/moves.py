"""Labels of ops that move entries: what is known of an entry goes where the entry goes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.access import Joined, Rearranged, Reshaped
from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import Entries, abstract_in, entries_of, is_low
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten


def filled(call: Call) -> Tensor:
    """A constant is no longer abstract."""
    value, example = entries_of(call["self"]), call.example
    if abstract_in([call[name] for name in call.arguments if name != "self"]) or example is None:
        raise NotImplementedError
    return call.run({"self": torch.empty((), dtype=example.dtype, device=value.latest.device).expand(value.shape)})


def moved(call: Call) -> Any:
    """The op itself is run on what is known; what it fills in is a known constant."""
    access = call.fact.access
    into = access.fill if isinstance(access, Rearranged) else ""
    name, value = next(iter(call.arguments.items()))
    if not isinstance(value, Entries) or abstract_in([call[one] for one in call.arguments if one != name]):
        raise NotImplementedError
    fill = call[into] if into else 0

    def move(part: Tensor) -> Any:
        if isinstance(access, Reshaped) and "size" in call.arguments:
            return part.reshape(call["size"])  # labels are laid out as they come
        return call.run({name: part, **({into: 0} if into else {})})

    # What is filled in comes out as 0, so that must mean "no step" and "a zero" on the way.
    latest = pytree.tree_map_only(Tensor, lambda part: part - 1, _run(move, value.latest + 1))
    zero = _map(torch.logical_not, _run(move, ~value.zero))
    low = _run(move, value.low)
    if fill != 0:
        is_filled = _map(torch.logical_not, _run(move, torch.ones_like(value.zero)))
        zero = _map(lambda part, filled: part & ~filled, zero, is_filled)
        low = _map(torch.logical_or, low, is_filled) if is_low(fill) else low
    return _map(Entries, latest, zero, low, *([] if value.true is None else [_run(move, value.true)]))


def _run(move: Callable[[Tensor], Any], part: Tensor) -> Any:
    """The moved part, by way of floats where the op takes no other numbers."""
    try:
        return move(part)
    except (RuntimeError, NotImplementedError):
        results = move(part.double())
    return pytree.tree_map_only(Tensor, lambda result: result.to(part.dtype), results)


def _map(function: Callable[..., Any], *trees: Any) -> Any:
    """`function` on the tensors of trees of one form, which are tensors or tuples of them."""
    if isinstance(trees[0], Tensor):
        return function(*trees)
    return tuple(function(*parts) for parts in zip(*trees, strict=True))


def joined(call: Call) -> Entries:
    """The lists of what is known of each are joined as the values are."""
    assert isinstance(call.fact.access, Joined)
    known = [entries_of(value) for value in call["tensors"]]
    columns = ([one.latest for one in known], [one.zero for one in known], [one.low for one in known])
    return Entries(*(call.run({"tensors": column}) for column in columns))


def placed(call: Call) -> Entries:
    """x with entries replaced by those of another: what is known is replaced alike, where the place is known."""
    if abstract_in([call[one] for one in call.arguments if one not in ("self", "src")]):
        raise NotImplementedError
    value, source = entries_of(call["self"]), entries_of(call["src"])
    pairs = zip((value.latest, value.zero, value.low), (source.latest, source.zero, source.low), strict=True)
    return Entries(*(call.run({"self": one.contiguous(), "src": other}) for one, other in pairs))


def real_parts(call: Call) -> Entries:
    """Both parts of a complex number depend on what it depends on."""
    return entries_of(call["self"]).all_alike(lambda part: part.unsqueeze(-1).expand(*part.shape, 2))


def from_parts(call: Call) -> Entries:
    """A complex number depends on what any of its parts depends on."""
    value = entries_of(call["self"])
    return Entries(value.latest.amax(-1), value.zero.all(-1), value.low.all(-1))
