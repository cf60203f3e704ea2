"""Whether a buffer that a loop reads whole is read through its written prefix only."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.partitioner.graphs.reads import read_order
from fxsolve.partitioner.graphs.tables import device_of, table_tensor
from fxsolve.partitioner.lowering.batch import batch
from fxsolve.scheduler.labels import NEVER, Timed
from fxsolve.scheduler.times import TimeInterpreter
from fxsolve.structure.levels import depth_of_prefixes
from fxsolve.system.spec import Invariant, Lag, Prefix, Repeat, Slices, Stacked, Table


@dataclass(frozen=True)
class Causality:
    """Whether the steps of a repeat may be swept: `found` for the report, and what forbids it, if anything does.

    `found` is "proved", "not shown: REASON", or empty where no buffer is read whole or nothing could be asked; `depth`
    bounds the longest chain of steps that read one another where it is proved.
    """

    found: str = ""
    obstacle: str | None = None
    depth: int | None = None


def judge(repeat: Repeat, structural: list[dict[str, Tensor]]) -> Causality:
    """What can be proved of the buffers that a repeat reads whole."""
    if not reads_buffer(repeat):
        return Causality()
    try:
        latest = _latest_steps(repeat, structural)
    except PartitionError as error:
        return Causality(obstacle=str(error))
    leak = _leak(latest)
    if leak is not None:
        return Causality(f"not shown: {leak}", f"causality not shown: {leak}")
    return Causality("proved", depth=depth_of_prefixes(latest))


def reads_buffer(repeat: Repeat) -> bool:
    """Whether a step reads a buffer that it writes into; many are only written."""
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    return any(isinstance(read, Prefix) and node.users for node, read in zip(placeholders, repeat.reads, strict=True))


def _latest_steps(repeat: Repeat, structural: list[dict[str, Tensor]]) -> list[int]:
    """For each step, the latest one that it may depend on; `NEVER` where there is none."""
    return highest_ranks(repeat, batch(repeat, repeat.length), structural, list(range(repeat.length)))


def _leak(latest: list[int]) -> str | None:
    """The first step that may read a buffer entry of its own or of a later step, if there is one."""
    for step, reached in enumerate(latest):
        if reached >= step:
            return f"step {step} may read what step {reached} writes"
    return None


def highest_ranks(
    repeat: Repeat, sweep: fx.GraphModule, structural: list[dict[str, Tensor]], ranks: list[int]
) -> list[int]:
    """For each step, the highest of the `ranks` of the steps that it may depend on; `NEVER` where there is none.

    `sweep` is that of all steps. What a step depends on is told by the ops and the zeros of masks.
    """
    order = read_order(repeat.reads)
    highest = [NEVER] * repeat.length
    given = torch.tensor(ranks, device=device_of(repeat))
    for values in structural:
        inputs = [
            _label(repeat, j, node.meta["val"], values, given)
            for j, node in zip(order, sweep.graph.find_nodes(op="placeholder"), strict=True)
        ]
        with torch.no_grad():
            outputs = TimeInterpreter(sweep).run(*inputs)
        for output in _unknowns(repeat):
            if isinstance(outputs[output], Timed):
                reached = outputs[output].labels.reshape(repeat.length, -1).amax(1).tolist()
                highest = [max(pair) for pair in zip(highest, reached, strict=True)]
    return highest


def _unknowns(repeat: Repeat) -> set[int]:
    return {read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))}


def _label(repeat: Repeat, j: int, example: Tensor, values: Mapping[str, Tensor], ranks: Tensor) -> Timed | Tensor:
    """The labels of a read, or its structural value, or else labels of no step for a value that may be anything."""
    device = device_of(repeat)
    match repeat.reads[j]:
        case Prefix(_, _, dim, index):
            wide = [len(index) if k == dim else size for k, size in enumerate(example.shape)]
            entries = ranks.view([-1 if k == dim else 1 for k in range(example.dim())]).expand(wide)
            labels = torch.full(example.shape, NEVER, device=device)
            return Timed(labels.index_copy(dim, torch.tensor(index, device=device), entries))
        case Lag(_, initial):
            steps = torch.cat((ranks.new_full((len(initial),), NEVER), ranks))[: repeat.length]
            return Timed(steps.view([-1, *[1] * (example.dim() - 1)]).expand(example.shape))
        case Table() as read:
            return table_tensor(read, device)
        case Invariant(source) if source in values:
            return values[source]
        case Slices(source, dim, index) if source in values:
            return values[source].movedim(dim, 0)[list(index)]
        case Stacked(sources) if all(source in values for source in sources):
            return torch.stack([values[source] for source in sources])
    return Timed(torch.full(example.shape, NEVER, device=device))
