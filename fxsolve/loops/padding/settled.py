"""Values of a growing loop that are made of nothing that its steps make, such as the places of words behind padding.

    places = mask.cumsum(1) - 1                 places = arange(n) + 0

Each step has of them what the last one has: entries that are not valid yet are those that later steps read.
"""

import torch
from torch import fx

from fxsolve.ir.calls import arguments
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.growing.sizes import Growing
from fxsolve.loops.padding.filled import Appended
from fxsolve.loops.rolling.signature import Calls
from fxsolve.ops import access
from fxsolve.ops.call import bind
from fxsolve.ops.facts import access_of
from fxsolve.rewrite.recorded.constants import makes_constants
from fxsolve.structure.slots import Value
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten
_ENTRY_BY_ENTRY = (
    access.SamePlace | access.Chosen | access.SameEntries | access.Cumulative | access.Expanded | access.Made
    | access.ConstantFill
)  # fmt: skip


def find_settled(calls: Calls, growing: Growing, filled: Appended) -> frozenset[fx.Node]:
    """The calls of a growing loop that give such values of integers; all steps begin with what is `filled`."""
    window, found = growing.window, set[fx.Node]()

    def is_settled(column: tuple[Value, ...]) -> bool:
        nodes = list(map(calls.node_of, column))
        sequences = {filled.joins.get(node, node) for node in nodes}
        if len(sequences) == 1:
            return True  # one value, or one sequence that is filled
        places = {(value.call - window.start) % window.period for value in column}
        return len(places) == 1 and all(node in found for node in nodes)

    for position in range(window.period):
        steps = range(window.start + position, window.stop, window.period)
        nodes = [calls.nodes[call] for call in steps]
        is_told = _is_of_integers(nodes[-1]) and _keeps_places(nodes[-1]) and _are_alike(nodes)
        if is_told and all(map(is_settled, zip(*map(calls.arguments, steps), strict=True))):
            found.update(nodes)
    return frozenset(found)


def _is_of_integers(node: fx.Node) -> bool:
    spec = node.meta["spec"]
    return isinstance(spec, TensorSpec) and not (spec.dtype.is_floating_point or spec.dtype.is_complex)


def _keeps_places(node: fx.Node) -> bool:
    """Whether an entry of the result depends on those at its own place or in front of it, dimensions of 1 aside."""
    target = node.target
    if not isinstance(target, OpOverload) or not makes_constants(target):
        return False
    kind = access_of(target)
    if isinstance(kind, access.Reshaped):
        given, made = node.all_input_nodes[0].meta["spec"].shape, node.meta["spec"].shape
        return [size for size in given if size != 1] == [size for size in made if size != 1]
    if target is aten.slice.Tensor:
        return (arguments(node, None, 0, None)[2] or 0) >= 0
    return isinstance(kind, _ENTRY_BY_ENTRY)


def _are_alike(nodes: list[fx.Node]) -> bool:
    """Whether calls have the same numbers but for sizes, and ends that grow."""
    calls = [bind(node.target, node.args, node.kwargs, None) for node in nodes]  # pyright: ignore[reportArgumentType]
    return len({repr([one for name, one in call.arguments.items() if _is_number(name, one)]) for call in calls}) == 1


def _is_number(name: str, value: object) -> bool:
    return name not in ("size", "shape", "end") and not isinstance(value, fx.Node)
