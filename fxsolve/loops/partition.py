"""From a program to its equations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from torch import fx

from fxsolve.capture.pause import paused_collector
from fxsolve.capture.program import Program
from fxsolve.ir.spec import System
from fxsolve.ir.verify import verify_system
from fxsolve.loops.find import find_loops
from fxsolve.loops.growing.ends import join_growth
from fxsolve.loops.nesting.lift import lift_loops
from fxsolve.loops.nesting.nests import nested_system
from fxsolve.loops.padding.known import Attributes
from fxsolve.loops.rolling.roll import Rolled
from fxsolve.loops.rolling.signature import Calls
from fxsolve.rewrite.blocks.names import owners_of
from fxsolve.rewrite.blocks.split import split_blocks
from fxsolve.rewrite.literals import LiteralsJoined, join_literals, reads_buffers
from fxsolve.rewrite.pipeline import REWRITES, ROUNDED
from fxsolve.rewrite.prune import prune
from fxsolve.rewrite.recorded.added_rows import add_rows
from fxsolve.rewrite.recorded.byte_masks import mask_bytes
from fxsolve.rewrite.recorded.constants import attributes_of, parameters_of
from fxsolve.rewrite.recorded.idle_writes import drop_idle_writes
from fxsolve.rewrite.recorded.layers import open_layers
from fxsolve.rewrite.recorded.masked import choose_masked
from fxsolve.rewrite.recorded.memory import pin_layouts, resolve_flags
from fxsolve.rewrite.recorded.one_entry import write_entries
from fxsolve.rewrite.recorded.one_piece import write_pieces
from fxsolve.rewrite.recorded.overwritten import join_overwritten
from fxsolve.rewrite.recorded.read_back import read_back
from fxsolve.rewrite.recorded.repeated import settle_writes
from fxsolve.rewrite.recorded.unbound import read_unbound
from fxsolve.rewrite.recorded.undone_views import undo_views


@dataclass(frozen=True)
class Partition:
    """The system of a program, and a note for every run of equal calls that could not be rolled.

    `rested` are the attributes whose values the system rests on, and `bound` those of them that may not say the same of
    the program at another length.
    """

    system: System
    notes: tuple[str, ...]
    rested: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


# In this order: those of the graph before its loops are looked for, and those of the system. Every one of them leaves
# a graph or a system that computes the same; tests look at what stands between any two.
GRAPH_PASSES: tuple[Callable[[fx.Graph], fx.Graph], ...] = (
    mask_bytes,
    open_layers,
    undo_views,
    drop_idle_writes,
    add_rows,
    choose_masked,
    write_pieces,
    join_overwritten,
    read_back,
    read_unbound,
    join_growth,
)
Passes = tuple[Callable[[System], System], ...]
SYSTEM_PASSES: Passes = (*REWRITES, lift_loops, prune)
ROUNDED_PASSES: Passes = (*ROUNDED, lift_loops, prune)


def partition(program: Program, passes: Passes = SYSTEM_PASSES) -> Partition:
    """Find the loops of `program`, roll them at every level, and split each in its parallel and sequential parts.

    What is straight-line code is one block between loops, or one block for each layer where there is more of it. By
    `ROUNDED_PASSES`, the system computes the same but for rounding.
    """
    with paused_collector():
        return _partition(program, passes)


def _partition(program: Program, passes: Passes) -> Partition:
    pinned = pin_layouts(resolve_flags(program.module.graph), program.roles)
    settled = settle_writes(pinned, program)
    written = write_entries(settled.graph, program)
    attributes = Attributes(attributes_of(program), parameters_of(program))
    found = find_loops(reduce(lambda graph, step: step(graph), GRAPH_PASSES, written.graph), attributes)
    nests = nested_system(found.graph, found.calls, found.rolling.loops, find_inside)
    rolled = reduce(lambda made, step: step(made), passes, nests.system)
    joined = join_literals(nests.system, program) if reads_buffers(rolled) else LiteralsJoined(rolled)
    rolled = reduce(lambda made, step: step(made), passes, joined.system) if joined.rested else rolled
    system = split_blocks(rolled, owners_of(program.module.graph))
    verify_system(system)
    places = [one for one in (*settled.rested, *written.rested, *joined.rested) if one not in program.stream.literals]
    rested = (*settled.rested, *written.rested, *joined.rested, *sorted(attributes.rested))
    bound = (*places, *sorted(attributes.bound))
    return Partition(system, (*settled.notes, *found.rolling.notes, *nests.notes), rested, bound)


def find_inside(graph: fx.Graph) -> tuple[fx.Graph, Calls, tuple[Rolled, ...], tuple[str, ...]]:
    """The loops in a step of a loop, by the passes that find those of a program."""
    found = find_loops(reduce(lambda made, step: step(made), GRAPH_PASSES, graph))
    return found.graph, found.calls, found.rolling.loops, found.rolling.notes
