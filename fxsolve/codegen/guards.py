"""Emit the guards of a program: what all steps of a loop read at one place is checked as one vector."""

import operator
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import fx

from fxsolve.codegen.values import ProgramEmission
from fxsolve.ir.picks import picked_steps
from fxsolve.ir.spec import System
from fxsolve.solvers.guard import Number, check_guards

aten = torch.ops.aten

_CARRIERS = {bool: torch.int64, int: torch.int64, float: torch.float64, complex: torch.complex128}

Expected = Number | tuple[Number, ...]


@dataclass(frozen=True)
class GuardedRead:
    """A named value, and what must be read from it: one number, or all of its entries.

    With `steps` only these entries are read, of a stack of steps.
    """

    name: str
    number: int
    expected: Expected
    steps: tuple[int, ...] | None = None


class Guards:
    """The guards of a program that have not been emitted yet."""

    def __init__(self, system: System, names: tuple[str, ...], expected: tuple[Expected, ...]) -> None:
        self._left = list(_gather(system, names, expected))

    def emit(self, emission: ProgramEmission) -> None:
        """Check every value that the emitted graph knows by now."""
        ready = [watched for watched in self._left if watched.name in emission.values]
        self._left = [watched for watched in self._left if watched.name not in emission.values]
        if ready:
            values = tuple(_value(emission, watched) for watched in ready)
            expected = tuple(_expected(emission, watched) for watched in ready)
            emission.call(check_guards, values, expected, tuple(watched.number for watched in ready))


def _gather(system: System, names: tuple[str, ...], expected: tuple[Expected, ...]) -> Iterator[GuardedRead]:
    """One entry for each stack of steps that guards pick from, and one for each other guard."""
    picked = picked_steps(system)
    stacks: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        if name in picked and not isinstance(expected[number], tuple):
            stacks[picked[name][0]].append(number)
        else:
            yield GuardedRead(name, number, expected[number])
    for stack, numbers in stacks.items():
        steps = tuple(picked[names[number]][1] for number in numbers)
        read: Any = tuple(expected[number] for number in numbers)
        yield GuardedRead(stack, numbers[0], read, steps)


def _value(emission: ProgramEmission, watched: GuardedRead) -> fx.Node:
    node, steps = emission.values[watched.name], watched.steps
    if steps is None:
        return node
    if all(b - a == 1 for a, b in pairwise(steps)):
        return emission.call(torch.narrow, node, 0, steps[0], len(steps))
    return emission.call(operator.getitem, node, list(steps))


def _expected(emission: ProgramEmission, watched: GuardedRead) -> fx.Node | Number:
    if not isinstance(watched.expected, tuple):
        return watched.expected
    dtype = _CARRIERS[type(watched.expected[0])]
    return emission.attribute(f"{watched.name}_expected", torch.tensor(watched.expected, dtype=dtype))
