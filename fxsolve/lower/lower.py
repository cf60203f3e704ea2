"""A repeat as the run-time loop of a solver."""

from collections.abc import Sequence
from itertools import pairwise

from torch import fx, nn

from fxsolve.ir.nested import Nested
from fxsolve.ir.reads import read_order, reorder_reads
from fxsolve.ir.spec import AllSteps, Count, FinalBuffer, Invariant, Lag, LastStep, Prefix, Repeat, Table
from fxsolve.lower.batch import batch
from fxsolve.lower.held_numbers import hold_numbers
from fxsolve.lower.in_place import write_parts
from fxsolve.lower.readable import readable
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.sweep import NumberedStep, Sweep


def step_loop(repeat: Repeat) -> Loop:
    """The loop whose body is one step."""
    return _loop(repeat, _step_module(repeat))


def numbered_loop(repeat: Repeat) -> Loop:
    """As `step_loop`, for a solver that has the numbers which change with the step as 0-d tensors."""
    tables = _tables(repeat)
    step = _step_module(repeat)
    return _loop(repeat, NumberedStep(step, tables) if tables else step)


def sweep_loop(repeat: Repeat, bounds: Sequence[int]) -> Loop:
    """The loop whose body sweeps the windows between `bounds`. PartitionError if it cannot be batched."""
    order = read_order(repeat.reads)
    lengths = {stop - start for start, stop in pairwise(bounds)}
    windows: dict[int, nn.Module] = {n: readable(batch(repeat, n)) for n in lengths if n > 1 or n == repeat.length}
    whole = tuple(k for k, j in enumerate(order) if isinstance(repeat.reads[j], (Invariant, Prefix)))
    return _loop(repeat, Sweep(_step_module(repeat), windows, whole, _tables(repeat)))


def _tables(repeat: Repeat) -> tuple[int, ...]:
    """The numbers of the tables in the order of a run-time loop."""
    return tuple(k for k, j in enumerate(read_order(repeat.reads)) if isinstance(repeat.reads[j], Table))


def results_of(repeat: Repeat) -> dict[str, int]:
    """The position of each named result in the flat tuple that a solver returns."""
    stacked, last = _numbers(repeat, AllSteps), _numbers(repeat, LastStep)
    buffers = [j for j in read_order(repeat.reads) if isinstance(repeat.reads[j], Prefix)]
    positions: dict[str, int] = {}
    for write in repeat.writes:
        match write:
            case AllSteps(name, output):
                positions[name] = stacked.index(output)
            case LastStep(name, output):
                positions[name] = len(stacked) + last.index(output)
            case FinalBuffer(name, read):
                positions[name] = len(stacked) + len(last) + buffers.index(read)
            case Count(name):
                positions[name] = len(stacked) + len(last) + counts_of(repeat).index((write.first, write.each))
    return positions


def counts_of(repeat: Repeat) -> tuple[tuple[int, int], ...]:
    """(first, each) of the counts that a repeat writes."""
    return tuple((write.first, write.each) for write in repeat.writes if isinstance(write, Count))


def _step_module(repeat: Repeat) -> fx.GraphModule:
    """The body of one step, with its placeholders in run-time order; modules that solve loops inside become its own."""
    step = reorder_reads(repeat, read_order(repeat.reads))
    write_parts(step.graph)
    step = readable(hold_numbers(step))
    for node in step.graph.nodes:
        if isinstance(node.target, Nested) and isinstance(node.target.solve, nn.Module):
            step.add_submodule(node.target.repeat.name, node.target.solve)
            node.op, node.target = "call_module", node.target.repeat.name
    step.recompile()
    return step


def _loop(repeat: Repeat, body: nn.Module) -> Loop:
    reads = [repeat.reads[j] for j in read_order(repeat.reads)]
    return Loop(
        body,
        repeat.length,
        lags=tuple(LoopLag(read.output, read.distance) for read in reads if isinstance(read, Lag)),
        buffers=tuple(Buffer(read.output, read.dim, read.index) for read in reads if isinstance(read, Prefix)),
        stacked=_numbers(repeat, AllSteps),
        last=_numbers(repeat, LastStep),
        name=repeat.name,
    )


def _numbers(repeat: Repeat, kind: type[AllSteps] | type[LastStep]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(write.output for write in repeat.writes if isinstance(write, kind)))
