"""Whether a buffer that a loop reads whole is read through its written prefix only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.ancestors import ancestors
from fxsolve.ir.spec import AllSteps, Lag, LastStep, Prefix, Read, Repeat
from fxsolve.lower.batch import batch
from fxsolve.lower.fewer_samples import unknown_outputs
from fxsolve.ops.access import SamePlace
from fxsolve.ops.domains.entries import NEVER, Entries
from fxsolve.ops.facts import FACTS, Facts, access_of
from fxsolve.plan.blame import blame
from fxsolve.plan.structural import Known, label_inputs, label_outputs
from fxsolve.structure.levels import depth_of_prefixes

aten = torch.ops.aten


@dataclass(frozen=True)
class Causality:
    """Whether the steps of a repeat may be swept: `found` for the report, and what forbids it, if anything does.

    `found` is "proved", "not shown: REASON", or empty where no buffer is read whole or nothing could be asked. Where it
    is proved, `latest` are the latest steps that each step may depend on.
    """

    found: str = ""
    obstacle: str | None = None
    latest: tuple[int, ...] = ()

    @property
    def depth(self) -> int | None:
        """A bound of the longest chain of steps that read one another, where it is proved."""
        return depth_of_prefixes(self.latest) if self.latest else None


def judge(repeat: Repeat, structural: Known, facts: Facts = FACTS) -> Causality:
    """What can be proved of the buffers that a repeat reads whole."""
    if not reads_buffer(repeat):
        return Causality()
    try:
        sweep = batch(repeat, repeat.length)
        labels = label_outputs(sweep, label_inputs(repeat, sweep, structural, list(range(repeat.length))), facts)
    except PartitionError as error:
        return Causality(obstacle=str(error))
    latest = _highest(labels, unknown_outputs(repeat), repeat.length)
    # What is handed on besides would be that of the finished buffer too.
    handed_on = _handed_on(repeat, structural)
    reached = [max(pair) for pair in zip(latest, _highest(labels, handed_on, repeat.length), strict=True)]
    last = _highest(labels, _handed_on_by_the_last(repeat), repeat.length)[-1]
    reached[-1] = max(reached[-1], last)
    early = [step for step, rank in enumerate(reached) if rank >= step]
    if early:
        step = early[len(early) // 2]  # one with much in front of it and behind: by what it reads too much shows best
        leak = f"step {step} may read what step {reached[step]} writes"
        if cause := blame(repeat, sweep, structural, step, facts, _read_at(repeat, step, handed_on)):
            leak = f"{leak}, through {cause}"
        return Causality(f"not shown: {leak}", f"causality not shown: {leak}")
    return Causality("proved", latest=tuple(latest))


def reads_buffer(repeat: Repeat) -> bool:
    """Whether a step reads a buffer that it writes into; many are only written."""
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    return any(isinstance(read, Prefix) and node.users for node, read in zip(placeholders, repeat.reads, strict=True))


def highest_ranks(
    repeat: Repeat, sweep: fx.GraphModule, structural: Known, ranks: list[int], facts: Facts = FACTS
) -> list[int]:
    """For each step, the highest of the `ranks` of the steps that it may depend on; `NEVER` where there is none.

    `sweep` is that of all steps. What a step depends on is told by the ops and the zeros of masks.
    """
    labels = label_outputs(sweep, label_inputs(repeat, sweep, structural, ranks), facts)
    return _highest(labels, unknown_outputs(repeat), repeat.length)


def _highest(labels: Sequence[Any], outputs: Iterable[int], length: int) -> list[int]:
    """For each step, the highest label of these outputs."""
    highest = [NEVER] * length
    for output in outputs:
        if isinstance(labels[output], Entries) and labels[output].latest.numel():
            reached = labels[output].latest.reshape(length, -1).amax(1).tolist()
            highest = [max(pair) for pair in zip(highest, reached, strict=True)]
    return highest


def _handed_on(repeat: Repeat, structural: Known) -> list[int]:
    """The outputs of every step that are handed on, be they read by other steps or not, but for checks that hold."""
    writes = [write for write in repeat.writes if isinstance(write, AllSteps)]
    return [one.output for one in writes if not (one.name in structural and _is_check(repeat, structural, one.output))]


def _is_check(repeat: Repeat, structural: Known, output: int) -> bool:
    """Whether a step asks for something of all entries, one by one, as `one_hot` does.

    Where that holds of the finished buffer, it holds of the entries so far. It held of what stood in the others before,
    in the recorded run; so that has to be the same in every run, and with it all that is compared with the entries.
    """
    results: Any = repeat.body.graph.output_node().args[0]
    result = results[output]
    if result.target is not aten.clone.default:  # what the program reads is kept so
        return False
    (asked,) = result.all_input_nodes
    if asked.target is not aten.all.default or not all(map(_is_entry_by_entry, asked.all_input_nodes)):
        return False
    reads = dict(zip(repeat.body.graph.find_nodes(op="placeholder"), repeat.reads, strict=True))
    return all(_stays(reads[node], structural) for node in ancestors([asked]) if node in reads)


def _stays(read: Read, structural: Known) -> bool:
    """Whether what steps read is the same in every run; of a buffer, what stands in the entries that they write."""
    if isinstance(read, Prefix):
        before = structural.get(read.initial)
        if isinstance(before, Entries):
            return bool(before.zero.movedim(read.dim, 0)[list(read.index)].all())
        return before is not None
    return not isinstance(read, Lag) and all(isinstance(structural.get(name), Tensor) for name in read.names)


def _is_entry_by_entry(node: fx.Node) -> bool:
    same = access_of(node.target) == SamePlace()
    return node.op == "placeholder" or (same and all(map(_is_entry_by_entry, node.all_input_nodes)))


def _handed_on_by_the_last(repeat: Repeat) -> list[int]:
    return [write.output for write in repeat.writes if isinstance(write, LastStep)]


def _read_at(repeat: Repeat, step: int, handed_on: list[int]) -> list[int]:
    """The outputs of a step that another step, or anything else, reads."""
    last = _handed_on_by_the_last(repeat) if step == repeat.length - 1 else []
    return [*unknown_outputs(repeat), *handed_on, *last]
