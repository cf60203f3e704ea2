"""The reference evaluator: one Gauss-Seidel sweep over the equations, simple and slow."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from fxsolve.ir.spec import (
    AllSteps,
    Block,
    Count,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Read,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
    Write,
)
from fxsolve.ir.tables import as_numbers
from fxsolve.ir.until import Along, Until
from fxsolve.solvers.numbers import longer_in_front

Values = Mapping[str, Tensor]
Steps = list[tuple[Tensor, ...]]


def evaluate(system: System, values: Values) -> tuple[Tensor, ...]:
    """Evaluate the equations in order from a value for each of `system.inputs`; returns `system.outputs`."""
    known = {name: values[name] for name in system.inputs}
    for equation in system.equations:
        known.update(_block(equation, known) if isinstance(equation, Block) else run_repeat(equation, known))
    return tuple(known[name] for name in system.outputs)


def _block(block: Block, known: Values) -> dict[str, Tensor]:
    results = block.body(*[known[name] for name in block.inputs])
    return dict(zip(block.outputs, results, strict=True))


def run_repeat(repeat: Repeat, known: Values) -> dict[str, Tensor]:
    """Run the steps of one repeat; returns what it writes, by name."""
    steps: Steps = []
    for t in _steps(repeat, steps, known):
        steps.append(
            repeat.body(*[read_value(_as_long(read, repeat, known), t, steps, known) for read in repeat.reads])
        )
    return {write.name: _written(write, repeat, steps, known) for write in repeat.writes}


def _further(repeat: Repeat, known: Values) -> int:
    """How many more steps than recorded run along stacks."""
    if not isinstance(repeat.until, Along):
        return 0
    return len(known[repeat.until.stack]) - repeat.until.length


def _as_long(read: Read, repeat: Repeat, known: Values) -> Read:
    """What is read where more or fewer steps than recorded run along others."""
    if not isinstance(repeat.until, Along) or not isinstance(read, (Slices, Table)):
        return read
    further = _further(repeat, known)
    if isinstance(read, Table):
        return Table(tuple(longer_in_front(as_numbers(read), further)))
    first = read.index[0] + further
    return replace(read, index=tuple(first - t for t in range(repeat.length + further)))


def _steps(repeat: Repeat, steps: Steps, known: Values) -> Iterator[int]:
    """The numbers of the steps; `steps` are the outputs of those before."""
    until = repeat.until
    if not isinstance(until, Until):
        yield from range(repeat.length + _further(repeat, known))
        return
    if until.before and bool(known[until.before]) == until.stops:
        return
    for t in count():
        yield t
        if bool(steps[t][until.output]) == until.stops:
            return


def read_value(read: Read, t: int, steps: Steps, known: Values) -> Tensor | int | float:
    """What `read` gives to step t when `steps` are the outputs of the steps before it."""
    match read:
        case Invariant(source):
            return known[source]
        case Stacked(sources):
            return known[sources[t]]
        case Slices(source, dim, index):
            return known[source].select(dim, index[t])
        case Table(values):
            return values[t]
        case Lag(output, initial):
            return steps[t - read.distance][output] if t >= read.distance else known[initial[t]]
        case Prefix():
            return _buffer(read, steps, known)


def _newest(repeat: Repeat, output: int, known: Values) -> Tensor:
    """The value of an output in front of the first step."""
    return next(known[read.initial[-1]] for read in repeat.reads if isinstance(read, Lag) and read.output == output)


def _buffer(read: Prefix, steps: Steps, known: Values) -> Tensor:
    buffer = known[read.initial]
    for index, outputs in zip(read.index, steps, strict=False):
        buffer = torch.select_scatter(buffer, outputs[read.output], read.dim, index)
    return buffer


def _written(write: Write, repeat: Repeat, steps: Steps, known: Values) -> Tensor:
    match write:
        case AllSteps(_, output):
            return torch.stack([outputs[output] for outputs in steps])
        case LastStep(_, output):
            return steps[-1][output] if steps else _newest(repeat, output, known)
        case Count(_, _, first, each):
            return first + each * len(steps)  # pyright: ignore[reportReturnType]
        case FinalBuffer(_, number):
            read = repeat.reads[number]
            assert isinstance(read, Prefix)
            return _buffer(read, steps, known)
