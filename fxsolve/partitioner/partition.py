"""From a program to its equations."""

from dataclasses import dataclass, replace

from fxsolve.partitioner.bodies import close_repeat, open_repeat
from fxsolve.partitioner.extract import extract
from fxsolve.partitioner.fission import split_repeat
from fxsolve.partitioner.merge import flatten_buffers, merge_selections
from fxsolve.partitioner.prefix import find_prefixes, simplify_copies
from fxsolve.partitioner.prune import prune
from fxsolve.partitioner.roll import roll
from fxsolve.partitioner.signature import read_calls
from fxsolve.partitioner.slices import lift_slices
from fxsolve.partitioner.views import dead_views
from fxsolve.system.spec import Equation, Repeat, System
from fxsolve.system.verify import verify_system
from fxsolve.tracer.program import Program


@dataclass(frozen=True)
class Partition:
    """The system of a program, and a note for every run of equal calls that could not be rolled."""

    system: System
    notes: tuple[str, ...]


def partition(program: Program) -> Partition:
    """Find the loops of `program`, roll them, and split each into its parallel and its sequential parts."""
    graph = program.module.graph
    calls = read_calls(graph, dead_views(graph))
    rolling = roll(calls)
    system = extract(graph, calls, rolling.loops)
    system = prune(_rewrite(system, _simplify))
    system = prune(_rewrite(system, split_repeat))
    verify_system(system)
    return Partition(system, rolling.notes)


def _rewrite(system: System, rule) -> System:
    equations: list[Equation] = []
    for equation in system.equations:
        equations += rule(equation) if isinstance(equation, Repeat) else [equation]
    return replace(system, equations=tuple(equations))


def _simplify(repeat: Repeat) -> list[Equation]:
    opened = open_repeat(repeat)
    simplify_copies(opened)
    before, after = flatten_buffers(opened)
    merge_selections(opened)
    lift_slices(opened)
    find_prefixes(opened)
    return [*before, close_repeat(opened), *after]
