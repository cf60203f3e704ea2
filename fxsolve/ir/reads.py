"""What the steps of a repeat read: facts that follow from it, and the order in which run-time loops take it."""

from torch import fx

from fxsolve.ir.spec import Invariant, Lag, Prefix, Read, Repeat, Table
from fxsolve.torch_compat.graphs import Graph, lazy_module


def is_autonomous(repeat: Repeat) -> bool:
    """Whether every step is one and the same map of the step before it."""
    lags = [read for read in repeat.reads if isinstance(read, Lag)]
    others = [read for read in repeat.reads if not isinstance(read, (Lag, Invariant))]
    return bool(lags) and not others and all(read.distance == 1 for read in lags)


def has_carry(repeat: Repeat) -> bool:
    """Whether any step reads another."""
    return any(isinstance(read, (Lag, Prefix)) for read in repeat.reads)


def takes_numbers(repeat: Repeat) -> bool:
    """Whether a step reads numbers of a loop around its own."""
    reads = zip(repeat.body.graph.find_nodes(op="placeholder"), repeat.reads, strict=True)
    return any(node.meta.get("spec") is None and not isinstance(read, Table) for node, read in reads)


def read_order(reads: tuple[Read, ...]) -> tuple[int, ...]:
    """Positions of the reads in the order of a run-time loop: lags, buffers, per step, shared."""

    def rank(j: int) -> int:
        match reads[j]:
            case Lag():
                return 0
            case Prefix():
                return 1
            case Invariant():
                return 3
            case _:
                return 2

    return tuple(sorted(range(len(reads)), key=rank))


def reorder_reads(repeat: Repeat, order: tuple[int, ...]) -> fx.GraphModule:
    """The body of `repeat` with placeholder k receiving read order[k]."""
    graph = Graph()
    old = repeat.body.graph.find_nodes(op="placeholder")
    copied = {old[j]: graph.node_copy(old[j]) for j in order}
    graph.output(graph.graph_copy(repeat.body.graph, copied))
    return lazy_module(graph, repeat.name)
