"""Labels of pointwise ops, and which zeros and masks go through them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import (
    LOW,
    Entries,
    broadcast,
    entries,
    entries_of,
    flags,
    is_low,
    known_true,
    latest_of,
    tells,
)
from fxsolve.torch_compat.trees import pytree

_SLACK = 1024  # a mask that is scaled down by up to this is one still


def same_place(call: Call) -> Entries:
    """An entry depends on the entries at its own place."""
    if not isinstance(call.example, Tensor) and call.example is not None:
        raise NotImplementedError
    rule = _RULES.get(call.name)
    found = rule(call) if rule is not None else None
    if found is not None:
        return found
    tensors = _tensors(call)
    return _through(call, tensors[0]) if len(tensors) == 1 else entries(latest_of(broadcast(tensors)))


def _tensors(call: Call) -> list[Any]:
    leaves = pytree.tree_leaves(list(call.arguments.values()))
    return [leaf for leaf in leaves if isinstance(leaf, Entries | Tensor)]


def _through(call: Call, value: Entries) -> Entries:
    """A function of one tensor and numbers: what it makes of 0 and of a large negative number is computed."""
    name = next((name for name, one in call.arguments.items() if one is value), None)
    example, is_random = call.example, torch.Tag.nondeterministic_seeded in call.target.tags
    if name is None or example is None or is_random or not tells(value):
        return entries(value.latest)
    if _is_boolean(call):
        return _told(call, name, value)
    dtype = call.arguments.get("dtype") or example.dtype
    marks = torch.tensor([0.0, LOW, -torch.inf]) if dtype.is_floating_point else torch.zeros(1)
    try:
        at_zero, *at_low = call.run({name: marks.to(torch.float64 if dtype.is_floating_point else dtype)}).tolist()
    except (RuntimeError, TypeError):
        return entries(value.latest)
    zero = value.zero & (at_zero == 0)
    low = value.zero & is_low(at_zero)
    if at_low:
        zero = zero | (value.low & all(one == 0 for one in at_low))
        low = low | (value.low & all(one <= LOW / _SLACK for one in at_low))
    return entries(value.latest, zero, low)


def _told(call: Call, name: str, value: Entries) -> Entries:
    """A boolean of one tensor and numbers: what it is of 0, and of true where the tensor is one of booleans."""
    try:
        of_zero, of_true = call.run({name: torch.tensor([False, True])}).tolist()
    except (RuntimeError, TypeError):
        return entries(value.latest)
    nothing, true = torch.zeros_like(value.zero), known_true(value)
    zero = (nothing if of_zero else value.zero) | (nothing if of_true else true)
    return flags(value.latest, zero, (value.zero if of_zero else nothing) | (true if of_true else nothing))


def _and(call: Call) -> Entries:
    left, right = broadcast((call["self"], call["other"]))
    if not _is_boolean(call):
        return entries(latest_of((left, right)), left.zero | right.zero)
    return flags(latest_of((left, right)), left.zero | right.zero, known_true(left) & known_true(right))


def _or(call: Call) -> Entries:
    left, right = broadcast((call["self"], call["other"]))
    if not _is_boolean(call):
        return entries(latest_of((left, right)), left.zero & right.zero)
    return flags(latest_of((left, right)), left.zero & right.zero, known_true(left) | known_true(right))


def _is_boolean(call: Call) -> bool:
    return isinstance(call.example, Tensor) and call.example.dtype == torch.bool


def _multiply(call: Call) -> Entries:
    """x * 0 does not depend on x (and is 0 where x is finite)."""
    left, right = broadcast((call["self"], call["other"]))
    low = (left.low & _is_positive(call["other"])) | (right.low & _is_positive(call["self"]))
    return entries(latest_of((left, right)), left.zero | right.zero, low)


def _divide(call: Call) -> Entries | None:
    if call["rounding_mode"] is not None:
        return None
    left, right = broadcast((call["self"], call["other"]))
    return entries(latest_of((left, right)), left.zero & ~right.zero, left.low & _is_positive(call["other"]))


def _is_positive(value: Any) -> Any:
    """Where a value is known to be positive, and large enough for a mask to stay one."""
    if isinstance(value, Entries):
        return torch.zeros((), dtype=torch.bool, device=value.latest.device)
    if isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex()):
        return False
    return value * _SLACK >= 1


def _add(call: Call) -> Entries:
    left, right = broadcast((call["self"], call["other"]))
    factor = 1 if call["alpha"] is None else call["alpha"]
    low = left.low | right.low if factor == 1 else left.low & right.zero
    return entries(latest_of((left, right)), left.zero & right.zero, low)


def _subtract(call: Call) -> Entries:
    left, right = broadcast((call["self"], call["other"]))
    taken = call["other"]
    if isinstance(taken, Tensor) and taken.dtype != torch.bool:  # as in `scores - 1e9 * hidden`
        taken = entries_of(-taken * (1 if call["alpha"] is None else call["alpha"]))
        return entries(latest_of((left, right)), left.zero & right.zero, left.low & ~right.low | taken.low)
    return entries(latest_of((left, right)), left.zero & right.zero, left.low & ~right.low)


def _where(call: Call) -> Entries | None:
    condition = call["condition"]
    if call["other"] is None:
        return None
    left, right = entries_of(call["self"]), entries_of(call["other"])
    if isinstance(condition, Entries):
        return _either(*broadcast((condition, left, right)))
    return _choose(condition, left, right)


def _either(condition: Entries, left: Entries, right: Entries) -> Entries:
    """Where the condition is known, the one that it chooses."""
    found = entries(latest_of((condition, left, right)), left.zero & right.zero, left.low & right.low)
    return _choose(known_true(condition), left, _choose(condition.zero, right, found))


def _choose(condition: Tensor, left: Entries, right: Entries) -> Entries:
    pairs = zip((left.latest, left.zero, left.low), (right.latest, right.zero, right.low), strict=True)
    return Entries(*(torch.where(condition, one, other) for one, other in pairs))


def _masked_fill(call: Call) -> Entries:
    mask, value = call["mask"], entries_of(call["self"])
    filled = entries_of(call["value"], value.latest.device)
    if isinstance(mask, Entries):
        return _either(*broadcast((mask, filled, value)))
    return _choose(mask, filled, value)


def _maximum(call: Call) -> Entries:
    left, right = broadcast((call["self"], call["other"]))
    return entries(latest_of((left, right)), left.zero & right.zero, left.low & right.low)


def _minimum(call: Call) -> Entries:
    left, right = broadcast((call["self"], call["other"]))
    return entries(latest_of((left, right)), left.zero & right.zero, left.low | right.low)


def same(call: Call) -> Entries:
    """A copy; of a mask in another type only the zeros are sure."""
    value = entries_of(call.first)
    if _is_boolean(call) and value.true is not None:
        return value
    is_real = call.example is None or call.example.is_floating_point()
    return entries(value.latest, value.zero, value.low if is_real else None)


def _copy(call: Call) -> Entries:
    """Of the target only the form is left."""
    form = entries_of(call["self"]).shape
    return entries_of(call["src"]).all_alike(lambda part: part.expand(form))


_RULES: Mapping[str, Callable[[Call], Entries | None]] = {
    "mul": _multiply,
    "div": _divide,
    "add": _add,
    "sub": _subtract,
    "where": _where,
    "masked_fill": _masked_fill,
    "maximum": _maximum,
    "minimum": _minimum,
    "copy": _copy,
    "bitwise_and": _and,
    "logical_and": _and,
    "bitwise_or": _or,
    "logical_or": _or,
}
