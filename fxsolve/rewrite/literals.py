"""Constants that every step makes anew of the same numbers are one, where steps read a buffer that they write.

slopes = torch.tensor([0.5, 0.25])      in a step of a sampler: with a tensor for each step, sweeps would run the model
                                        for each step; with one for all, they run it once.
"""

from dataclasses import dataclass, replace

import torch

from fxsolve.capture.program import Program, attribute_of
from fxsolve.ir.spec import Invariant, Prefix, Read, Repeat, Stacked, System


@dataclass(frozen=True)
class LiteralsJoined:
    """A system, and the attributes whose values it rests on: at another length they may be others."""

    system: System
    rested: tuple[str, ...] = ()


def reads_buffers(system: System) -> bool:
    """Whether there are steps that read a buffer that they write."""
    return any(isinstance(read, Prefix) for repeat in system.repeats for read in repeat.reads)


def join_literals(system: System, program: Program) -> LiteralsJoined:
    """The same system with one constant for equal ones of all steps."""
    literals = {node.name: str(node.target) for node in program.module.graph.find_nodes(op="get_attr")}
    literals = {name: target for name, target in literals.items() if name in program.stream.literals}
    rested: dict[str, None] = {}

    def joined(read: Read) -> Read:
        if not isinstance(read, Stacked) or not all(name in literals for name in read.sources):
            return read
        first, *others = (attribute_of(program, literals[name]) for name in read.sources)
        if not all(torch.equal(first, one) and first.dtype == one.dtype for one in others):
            return read
        rested.update(dict.fromkeys(literals[name] for name in read.sources))
        return Invariant(read.sources[0])

    equations = tuple(
        replace(one, reads=tuple(map(joined, one.reads))) if isinstance(one, Repeat) else one
        for one in system.equations
    )
    return LiteralsJoined(replace(system, equations=equations), tuple(rested))
