"""Results that had memory of their own in the recorded run have it in every call: the caller may write into them.

Functional graphs compute once what is equal, hand on a value in the place of its copy, and pick steps out of the stack
of all steps. What the program returns as another tensor, or as a view of one, becomes that when it is handed on.
"""

import operator
from collections import Counter, defaultdict
from itertools import chain
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import fx

from fxsolve.capture.program import Program, attribute_of
from fxsolve.codegen.values import ProgramEmission
from fxsolve.state.memory import storage_of
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten
# By what one of several parts of a memory is picked, a dimension or a call, and its number.
Part = tuple[int | fx.Node | None, int]
_ANY: Part = (None, 0)


def give_own_memory(emission: ProgramEmission, program: Program, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the results, with copies in the place of those that others have an entry in common with."""
    recorded, others = program.example.outputs, _Others(program)
    handed = {*program.stores.handed, *(alias.output for alias in program.aliases)}
    numbers = [number for number in range(program.stores.outputs) if number not in handed]
    shared = Counter(storage_of(recorded[number]) for number in numbers)
    found = list(names)
    # Of several results on one memory, the largest one keeps it.
    for number in sorted(numbers, key=lambda number: -recorded[number].numel()):
        node, storage = emission.values[names[number]], storage_of(recorded[number])
        is_copied = others.meet(node, storage) or _is_picked(node)
        if is_copied and shared[storage] == 1 and storage not in others.given:
            found[number] = f"{names[number]}_of_result_{number}"
            emission.values[found[number]] = emission.call(aten.clone.default, node)
    return tuple(found)


class _Others:
    """What lies on the memories of an emitted graph: parts of them, each with its memory in the recorded run."""

    def __init__(self, program: Program) -> None:
        attributes = (attribute_of(program, str(n.target)) for n in program.module.graph.find_nodes(op="get_attr"))
        self.given = set(map(storage_of, (*program.example.inputs, *attributes)))
        self._seen = defaultdict[fx.Node, dict[Any, dict[int, set[int]]]](dict)

    def meet(self, node: fx.Node, storage: int) -> bool:
        """Whether a result that was recorded on `storage` shares entries with what was not; if not, it is added."""
        root, (picker, number) = _place_of(node)
        parts = self._seen[root]
        is_given = root.op != "call_function" and storage not in self.given
        met = (by.get(number, ()) if other == picker else chain(*by.values()) for other, by in parts.items())
        if is_given or not {storage}.issuperset(chain.from_iterable(met)):
            return True
        parts.setdefault(picker, {}).setdefault(number, set()).add(storage)
        return False


def _is_picked(node: fx.Node) -> bool:
    """Whether a value may be a step of the stack of all, be it made contiguous, which it is already."""
    while node.target is aten.contiguous.default:
        node = node.all_input_nodes[0]
    return node.target is torch.select


def _place_of(node: fx.Node) -> tuple[fx.Node, Part]:
    """The value that `node` may be a view of, which is none itself, and the part of it that it lies in."""
    part = _ANY
    while (base := _base_of(node)) is not None:
        node, part = base, _part_of(node)
    return node, part


def _base_of(node: fx.Node) -> fx.Node | None:
    call = _call_of(node)
    return call.all_input_nodes[0] if call.op == "call_function" and _makes_view(call.target) else None


def _part_of(node: fx.Node) -> Part:
    if node.target not in (torch.select, operator.getitem):
        return _ANY
    picker, number = node.args[1:] if node.target is torch.select else (_call_of(node), node.args[1])
    return (picker, number) if isinstance(number, int) and number >= 0 else _ANY  # pyright: ignore[reportReturnType]


def _call_of(node: fx.Node) -> fx.Node:
    """The call that gives a value, maybe as one of several."""
    return node.all_input_nodes[0] if node.target is operator.getitem else node


def _makes_view(target: Any) -> bool:
    """Whether a call may give its argument, or a part of it, in another way."""
    if isinstance(target, OpOverload):
        return target.is_view
    packet = getattr(aten, target.__name__, None) if isinstance(target, BuiltinFunctionType) else None
    return packet is not None and any(getattr(packet, name).is_view for name in packet.overloads())
