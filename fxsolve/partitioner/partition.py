"""From a program to its equations."""

from dataclasses import dataclass

from fxsolve.partitioner.growth import join_growth
from fxsolve.partitioner.lift import lift_loops
from fxsolve.partitioner.loops import find_loops
from fxsolve.partitioner.nests import nested_system
from fxsolve.partitioner.prune import prune
from fxsolve.partitioner.rewrite import rewrite
from fxsolve.system.spec import System
from fxsolve.system.verify import verify_system
from fxsolve.tracer.program import Program


@dataclass(frozen=True)
class Partition:
    """The system of a program, and a note for every run of equal calls that could not be rolled."""

    system: System
    notes: tuple[str, ...]


def partition(program: Program) -> Partition:
    """Find the loops of `program`, roll them at every level, and split each in its parallel and sequential parts."""
    found = find_loops(join_growth(program.module.graph))
    nests = nested_system(found.graph, found.calls, found.rolling.loops)
    system = prune(lift_loops(rewrite(nests.system)))
    verify_system(system)
    return Partition(system, (*found.rolling.notes, *nests.notes))
