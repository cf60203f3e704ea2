"""Sequences to which every step appends the same number, as to a mask of padding that grows with a text.

    x_(t+1) = cat(x_t, 1)

The buffer of such a sequence holds these numbers from the first step on, and no step changes it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from fxsolve.loops.growing.sizes import Growing
from fxsolve.loops.padding.known import KnownValues
from fxsolve.loops.rolling.signature import Calls
from fxsolve.ops.call import Call, bind

aten = torch.ops.aten


@dataclass(frozen=True)
class Appended:
    """What is appended, by the sequences in front of the loop, and of each call that appends to one of them which."""

    numbers: Mapping[fx.Node, float]
    joins: Mapping[fx.Node, fx.Node]


def find_filled(calls: Calls, growing: Growing, known: KnownValues) -> Appended:
    """The sequences of a growing loop that every step appends one finite number to."""
    window, numbers, joins = growing.window, dict[fx.Node, float](), dict[fx.Node, fx.Node]()
    for position in range(window.period):
        nodes = [calls.nodes[call] for call in range(window.start + position, window.stop, window.period)]
        first = _appended(nodes[0], known)
        if first is None or window.start <= calls.values[first[0]].call:
            continue
        root, number = first
        before = [root, *nodes[:-1]]
        is_chain = all(_appended(node, known) == (one, number) for node, one in zip(nodes, before, strict=True))
        if is_chain and numbers.setdefault(root, number) == number:
            joins.update(dict.fromkeys(nodes, root))
    return Appended(numbers, joins)


def _appended(node: fx.Node, known: KnownValues) -> tuple[fx.Node, float] | None:
    """The sequence that a call appends to, and the number of which it appends no other."""
    if node.target not in (aten.cat.default, aten.constant_pad_nd.default):
        return None
    call = bind(node.target, node.args, node.kwargs, None)  # pyright: ignore[reportArgumentType]
    number = _joined(call, known) if call.name == "cat" else _padded(call)
    before = node.all_input_nodes[0]
    is_number = isinstance(number, (int, float)) and math.isfinite(number)
    if number is None or not is_number or before.meta["spec"].dtype != node.meta["spec"].dtype:
        return None
    return before, number


def _joined(call: Call, known: KnownValues) -> float | None:
    """The number that all entries but those of the first tensor are."""
    before, *pieces = call["tensors"]
    if any(len(piece.meta["spec"].shape) != len(before.meta["spec"].shape) for piece in pieces):
        return None
    values = [known.of(piece) for piece in pieces]
    numbers = {None if value is None or not value.numel() else _the_number(value) for value in values}
    return numbers.pop() if len(numbers) == 1 else None


def _the_number(value: Tensor) -> float | None:
    """The number that all entries are."""
    first = value.flatten()[0]
    return first.item() if bool((value == first).all()) else None


def _padded(call: Call) -> float | None:
    """The number that a call adds at the end of one dimension, and nowhere else."""
    added = [place for place, pad in enumerate(call["pad"]) if pad]
    return float(call["value"]) if len(added) == 1 and added[0] % 2 and call["pad"][added[0]] > 0 else None
