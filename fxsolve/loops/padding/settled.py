"""Values of a growing loop that are made of nothing that its steps make, such as the places of words behind padding.

    places = mask.cumsum(1) - 1

Each step has of them what the last one has: entries that are not valid yet are those that later steps read.
"""

from torch import fx

from fxsolve.loops.growing.sizes import Growing
from fxsolve.loops.padding.filled import Appended
from fxsolve.loops.rolling.signature import Calls
from fxsolve.ops import access
from fxsolve.ops.facts import access_of
from fxsolve.rewrite.recorded.constants import makes_constants
from fxsolve.structure.slots import Value
from fxsolve.torch_compat.operators import OpOverload

_ENTRY_BY_ENTRY = access.SamePlace | access.Chosen | access.SameEntries | access.Cumulative


def find_settled(calls: Calls, growing: Growing, filled: Appended) -> frozenset[fx.Node]:
    """The calls of a growing loop that give such values; all steps begin with what is `filled`."""
    window, found = growing.window, set[fx.Node]()

    def is_settled(column: tuple[Value, ...]) -> bool:
        nodes = list(map(calls.node_of, column))
        sequences = {filled.joins.get(node, node) for node in nodes}
        if len(sequences) == 1:
            return True  # one value, or one sequence that is filled
        places = {(value.call - window.start) % window.period for value in column}
        return len(places) == 1 and all(node in found for node in nodes)

    for position in range(window.period if filled.joins else 0):
        steps = range(window.start + position, window.stop, window.period)
        if _keeps_places(calls.nodes[steps[0]]) and len({calls.numbers_of(call) for call in steps}) == 1:
            columns = zip(*map(calls.arguments, steps), strict=True)
            if all(map(is_settled, columns)):
                found.update(calls.nodes[call] for call in steps)
    return frozenset(found)


def _keeps_places(node: fx.Node) -> bool:
    """Whether an entry of the result depends on those at its own place or in front of it."""
    target = node.target
    return isinstance(target, OpOverload) and makes_constants(target) and isinstance(access_of(target), _ENTRY_BY_ENTRY)
