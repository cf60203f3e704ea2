"""The run-time arguments of a repeat's loop, from named values: tensors when probing, fx proxies when emitting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fxsolve.ir.spec import Invariant, Lag, Prefix, Read, Repeat, Slices, Stacked, Table
from fxsolve.ir.tables import as_numbers, as_range, device_of, table_tensor
from fxsolve.lower.held_numbers import held_table


def _as_it_is(_: str, value: Tensor) -> Any:
    return value


@dataclass(frozen=True)
class Values:
    """Named values; `constant` makes a value of a tensor.

    Several names may be one value: a tensor of theirs in `stacks`, a tuple of theirs in `lists`.
    """

    named: Mapping[str, Any]
    stacks: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    lists: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    constant: Callable[[str, Tensor], Any] = _as_it_is


@dataclass(frozen=True)
class SolverArguments:
    """What a solver call takes beside the loop itself."""

    initial: tuple[tuple[Any, ...], ...]
    buffers: tuple[Any, ...]
    per_step: tuple[Any, ...]
    shared: tuple[Any, ...]

    def flat(self) -> tuple[Any, Any, Any, Any]:
        return self.initial, self.buffers, self.per_step, self.shared


def step_arguments(repeat: Repeat, values: Values) -> SolverArguments:
    """For a loop that runs step by step: per-step values are tensors (T, ...), tuples of tensors, or numbers."""
    return _arguments(repeat, values, [_stepwise(repeat, j, read, values) for j, read in _per_step(repeat)])


def carried_arguments(repeat: Repeat, values: Values) -> SolverArguments:
    """What a loop takes besides its per-step values."""
    return _arguments(repeat, values, [])


def sweep_arguments(repeat: Repeat, values: Values) -> SolverArguments:
    """For a sweep over many steps: per-step values are tensors (T, ...)."""
    return _arguments(repeat, values, [_stacked(repeat, j, read, values) for j, read in _per_step(repeat)])


def fused_arguments(repeat: Repeat, values: Values) -> SolverArguments:
    """For steps that are compiled: as for a sweep, but the per-step values of `backward_reads` lie last step first."""
    per_step = [
        _sliced(repeat, j, read, values) if isinstance(read, Slices) else _stacked(repeat, j, read, values)
        for j, read in _per_step(repeat)
    ]
    return _arguments(repeat, values, per_step)


def backward_reads(repeat: Repeat) -> tuple[int, ...]:
    """The numbers of the per-step reads that run from the end of a tensor to its start."""
    return tuple(number for number, (_, read) in enumerate(_per_step(repeat)) if is_backwards(read))


def is_backwards(read: Read) -> bool:
    """Whether the steps read the slices of a tensor from its end to its start, one after the other."""
    if not isinstance(read, Slices):
        return False
    counted = as_range(read.index)
    return counted is not None and counted.step == -1


def _arguments(repeat: Repeat, values: Values, per_step: list[Any]) -> SolverArguments:
    named = values.named
    return SolverArguments(
        initial=tuple(tuple(named[name] for name in read.initial) for read in repeat.reads if isinstance(read, Lag)),
        buffers=tuple(named[read.initial] for read in repeat.reads if isinstance(read, Prefix)),
        per_step=tuple(per_step),
        shared=tuple(named[read.source] for read in repeat.reads if isinstance(read, Invariant)),
    )


def _per_step(repeat: Repeat) -> list[tuple[int, Slices | Stacked | Table]]:
    return [(j, read) for j, read in enumerate(repeat.reads) if isinstance(read, (Slices, Stacked, Table))]


def _stepwise(repeat: Repeat, position: int, read: Slices | Stacked | Table, values: Values) -> Any:
    match read:
        case Slices():
            rows = _sliced(repeat, position, read, values)
            return torch.unbind(rows)[::-1] if is_backwards(read) else rows
        case Stacked(sources):
            if sources in values.stacks:
                return values.stacks[sources]
            return _listed(sources, values)
        case Table():
            return _numbers(repeat, position, read, values)


def _numbers(repeat: Repeat, position: int, read: Table, values: Values) -> Any:
    numbers = as_numbers(read)
    held = None
    if not isinstance(numbers, range):  # which goes on where a loop does
        held = held_table(numbers, repeat.body.graph.find_nodes(op="placeholder")[position].users)
    return numbers if held is None else values.constant(f"{repeat.name}_table{position}", held)


def _stacked(repeat: Repeat, position: int, read: Slices | Stacked | Table, values: Values) -> Any:
    match read:
        case Slices():
            rows = _sliced(repeat, position, read, values)
            return torch.flip(rows, [0]) if is_backwards(read) else rows
        case Stacked(sources) if sources not in values.stacks:
            return torch.stack(_listed(sources, values))  # pyright: ignore[reportArgumentType]
        case Table():
            return values.constant(f"{repeat.name}_table{position}", table_tensor(read, device_of(repeat)))
        case _:
            return _stepwise(repeat, position, read, values)


def _listed(sources: tuple[str, ...], values: Values) -> Any:
    return values.lists[sources] if sources in values.lists else tuple(values.named[source] for source in sources)


def _sliced(repeat: Repeat, position: int, read: Slices, values: Values) -> Any:
    """source.select(dim, index[t]) for all t, (T, ...); last step first if backwards; a view if it counts."""
    source = values.named[read.source]
    moved = source if read.dim == 0 else torch.movedim(source, read.dim, 0)
    counted, length = as_range(read.index), len(read.index)
    if counted and counted.step in (1, -1):
        return torch.narrow(moved, 0, min(counted), length)
    index = torch.tensor(read.index, device=device_of(repeat))
    return moved[values.constant(f"{repeat.name}_index{position}", index)]
