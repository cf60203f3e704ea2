"""Labels of convolutions and pooling: a result reads a patch, in the former through weights that are not zero."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.ops.access import Pool
from fxsolve.ops.call import Call
from fxsolve.ops.domains.entries import NEVER, Entries, entries, entries_of, is_free
from fxsolve.ops.domains.products import latest_reached
from fxsolve.torch_compat.trees import pytree


def convolution(call: Call) -> Entries:
    """A convolution over any number of dimensions as a product of patches with the weight, (N, L, K) @ (K, O)."""
    value, weight = entries_of(call["input"]), entries_of(call["weight"])
    if not is_free([call["weight"], call["bias"]]) or call.example is None:
        raise NotImplementedError
    latest, is_used = value.latest, ~weight.zero
    alike = bool((latest == latest[:1]).all())  # a batch shares its labels
    latest = latest[:1] if alike else latest
    if call["transposed"]:
        latest, is_used, padding = _as_plain(call, latest, is_used)
        stride = [1] * len(padding)
    else:
        padding, stride = [(one, one) for one in _each(call["padding"], latest.dim() - 2)], call["stride"]
    sides = latest.dim() - 2
    patches = _patches(latest, is_used.shape[2:], _each(stride, sides), padding, _each(call["dilation"], sides))
    groups = call["groups"]
    columns = patches.unflatten(1, (groups, -1)).movedim(1, 0)  # (G, N, C / G, *out, *kernel)
    weights = is_used.unflatten(0, (groups, -1))  # (G, O / G, C / G, *kernel)
    reached = [_through(one, used) for one, used in zip(columns, weights, strict=True)]
    return entries(torch.cat(reached, 1).expand(call.example.shape))


def _each(value: Any, sides: int) -> list[int]:
    """A number for each dimension; one number stands for all."""
    return [*value] * sides if len(value) == 1 else [*value]


def _through(patches: Tensor, is_used: Tensor) -> Tensor:
    """(N, C, *out, *kernel) and (O, C, *kernel) -> (N, O, *out)."""
    sides = is_used.dim() - 2
    out = patches.shape[2 : 2 + sides]
    rows = patches.movedim(1, 1 + sides).reshape(len(patches), *out, -1)
    return latest_reached(rows, is_used.flatten(1).mT).movedim(-1, 1)


def _as_plain(call: Call, latest: Tensor, is_used: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """A transposed convolution as a plain one: with room between the entries, and the kernel turned."""
    sides = latest.dim() - 2
    options = (call["stride"], call["padding"], call["output_padding"], call["dilation"])
    stride, padding, more, dilation = (_each(one, sides) for one in options)
    spread = [(size - 1) * step + 1 for size, step in zip(latest.shape[2:], stride, strict=True)]
    wide = torch.full((*latest.shape[:2], *spread), NEVER, device=latest.device)
    wide[(..., *(slice(None, None, step) for step in stride))] = latest
    turned = is_used.flip([*range(2, 2 + sides)]).unflatten(0, (call["groups"], -1))
    turned = turned.movedim(2, 1).flatten(0, 1)
    reach = [gap * (size - 1) for gap, size in zip(dilation, is_used.shape[2:], strict=True)]
    both = [(r - p, r - p + m) for r, p, m in zip(reach, padding, more, strict=True)]
    return wide, turned, both


def _patches(
    latest: Tensor, kernel: Any, stride: list[int], padding: list[tuple[int, int]], dilation: list[int]
) -> Tensor:
    """(N, C, *sides) -> (N, C, *out, *kernel); what is padded depends on no step."""
    around = [width for pair in reversed(padding) for width in pair]
    patches = F.pad(latest, around, value=NEVER)
    for side, size in enumerate(kernel):
        span = dilation[side] * (size - 1) + 1
        patches = patches.unfold(2 + side, span, stride[side])[..., :: dilation[side]]
    return patches


def pool(call: Call) -> Any:
    """Windows of each channel alone; the places that are found are known as the values are."""
    fact = call.fact.access
    assert isinstance(fact, Pool)
    value = entries_of(call["self"])
    size, padding = _each(call["kernel_size"], fact.sides), _each(call["padding"], fact.sides)
    stride = _each(call["stride"], fact.sides) if call["stride"] else size
    dilation = _each(call["dilation"], fact.sides) if call["dilation"] else [1] * fact.sides
    latest = value.latest[None] if value.latest.dim() == fact.sides + 1 else value.latest
    both = [(one, one) for one in padding]
    if call["ceil_mode"]:
        both = [(low, high + step - 1) for (low, high), step in zip(both, stride, strict=True)]
    patches = _patches(latest, size, stride, both, dilation)
    reached = patches.flatten(2 + fact.sides).amax(-1)
    if value.latest.dim() == fact.sides + 1:
        reached = reached[0]

    def crop(result: Tensor) -> Entries:
        if any(have < want for have, want in zip(reached.shape, result.shape, strict=True)):
            raise NotImplementedError
        return entries(reached[tuple(slice(0, one) for one in result.shape)])

    return pytree.tree_map_only(Tensor, crop, call.example)
