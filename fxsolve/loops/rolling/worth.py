"""Which loops are worth rolling.

Steps that read earlier ones are a recurrence, however few they are. A run of T equal steps that do not, such as the
projections to queries, keys and values, gains only by being batched: of T p calls that compute p are left, s calls
stack what the steps take in one by one, and o views pick what is read of single steps. It is a loop where it saves at
least `MIN_CALLS` calls,

    (T - 1) p - s - o  >=  MIN_CALLS,

or costs nothing: s = 0, and no more steps are picked than another loop may have peeled off.
"""

from torch import fx

from fxsolve.ir.calls import computes
from fxsolve.loops.rolling.live_out import LiveOut
from fxsolve.loops.rolling.roll import MAX_PEELED, MIN_CALLS, Rolled
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.slots import Internal, Varying


def worth_rolling(graph: fx.Graph, calls: Calls, loops: tuple[Rolled, ...]) -> tuple[Rolled, ...]:
    """The recurrences among `loops`, and the runs of independent steps that are worth a loop."""
    while True:
        # What a loop hands on to another all together, it hands on one by one where the other is none.
        wanted = LiveOut(graph, calls, loops)
        kept = tuple(loop for number, loop in enumerate(loops) if _is_recurrence(loop) or _gains(wanted, number, loop))
        if kept == loops:
            return loops
        loops = kept


def _is_recurrence(loop: Rolled) -> bool:
    return any(isinstance(slot, Internal) and slot.lag > 0 for slot in loop.slots)


def _gains(wanted: LiveOut, number: int, loop: Rolled) -> bool:
    """Whether a batch of independent steps makes fewer calls than they do, or costs nothing."""
    window = loop.window
    varying = {slot.values for slot in loop.slots if isinstance(slot, Varying)}
    stacks = sum(not wanted.is_stack(values) for values in varying)
    picks = [len(wanted.picked(place)) for place in wanted.places(number)]
    computing = sum(map(computes, wanted.calls.nodes[window.start : window.start + window.period]))
    saved = (window.trips - 1) * computing - stacks - sum(picks)
    return saved >= MIN_CALLS or (not stacks and max(picks, default=0) <= MAX_PEELED)
