"""The loops of every program of the table, and values for what their steps read."""

import warnings
from functools import cache
from typing import Any

import torch
from torch import fx

from fxsolve.capture.program import Program
from fxsolve.errors import CaptureError
from fxsolve.ir.nested import every_repeat
from fxsolve.ir.spec import Read, Repeat, Table
from fxsolve.stages import partition
from tests.table.follow import captured
from tests.table.row import Row
from tests.test_table import ROWS


@cache
def programs() -> tuple[tuple[str, Program], ...]:
    """The recorded programs of all rows that are not refused, with the names of the rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit.script", DeprecationWarning)  # by programs of the table
        return tuple((row.name, program) for row in ROWS if (program := _captured(row)) is not None)


def _captured(row: Row) -> Program | None:
    with row.mode():
        program = captured(row)
    return None if isinstance(program, CaptureError) else program


@cache
def recorded() -> tuple[tuple[str, Repeat], ...]:
    """The loops of all rows, those inside of others too, with the names of the rows."""
    systems = ((name, partition(program).system) for name, program in programs())
    return tuple((name, repeat) for name, system in systems for repeat in every_repeat(system))


def reads_for(repeat: Repeat, seed: int) -> list[Any]:
    """Random values for the placeholders of a body: small ones, and zeros and ones for what may be an index."""
    generator = torch.Generator().manual_seed(seed)
    nodes = repeat.body.graph.find_nodes(op="placeholder")
    return [_value(node, read, generator) for node, read in zip(nodes, repeat.reads, strict=True)]


def _value(node: fx.Node, read: Read, generator: torch.Generator) -> Any:
    if isinstance(read, Table):
        return read.values[0]
    spec = node.meta["spec"]
    if spec.dtype.is_floating_point or spec.dtype.is_complex:
        return torch.randn(spec.shape, dtype=spec.dtype, generator=generator)
    return torch.randint(0, 2, spec.shape, generator=generator).to(spec.dtype)
