"""Which rows of blocks are alike, as modules that sweep over several of them at once, and why others are not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.alike.added import build_added
from fxsolve.lower.alike.build import build_alike
from fxsolve.lower.alike.match import Likeness, calls_in_order, match
from fxsolve.lower.alike.parts import join_parts, sum_of_parts
from fxsolve.solvers.blocks import Together


@dataclass(frozen=True)
class Found:
    """Modules, each with the numbers of the rows that it sweeps over, and notes on these and on all others."""

    together: tuple[tuple[tuple[int, ...], Together], ...]
    notes: tuple[str, ...]


NOTHING_ALIKE = Found((), ())
# Of what all blocks read, side by side; half of it is in vain. On one thread of a CPU, the sweeps over each block of a
# DenseNet-201 (14 to 62 MiB) take 0.8 to 1.1 times as long as one by one; the first sweeps over 147 MiB, 1.8 times.
MOST_BYTES_HERE = 64 << 20
MOST_BYTES_THERE = 1 << 30


def find_alike(rows: Sequence[Sequence[Block]], number: Mapping[str, int], levels: Sequence[int]) -> Found:
    """The rows of one block that have the same calls; `number` is that of each named value, `levels` those of rows."""
    made = {name: level for row, level in zip(rows, levels, strict=True) for block in row for name in block.outputs}
    read = {name for row in rows for block in row for name in block.inputs if name in made}
    rows = [[join_parts(block) for block in row] for row in rows]
    looking_alike = _looking_alike(rows)
    together, notes = [], []
    for looking in looking_alike:
        group = tuple(sorted(looking, key=lambda place: levels[place]))
        blocks = [rows[place][0] for place in group]
        try:
            like = match(blocks, read, set(made))
            module = _build(like, blocks, number, made, [levels[place] for place in group])
        except PartitionError as error:
            notes.append(f"{blocks[0].name} to {blocks[-1].name} are swept one by one: {error}")
        else:
            together.append((group, module))
            notes.append(f"{len(group)} blocks, {blocks[0].name} to {blocks[-1].name}, are swept at once")
    looked = sum(map(len, looking_alike))
    if looked < len(rows):
        notes.append(f"{len(rows) - looked} of {len(rows)} blocks from {rows[0][0].name} on are like no other")
    return Found(tuple(together), tuple(notes))


def _build(
    like: Likeness, blocks: Sequence[Block], number: Mapping[str, int], made: Mapping[str, int], levels: Sequence[int]
) -> Together:
    if like.added is None:
        _check_size(like, like.join)
        return build_alike(like, number, made, levels)
    _check_size(like, like.outputs[0])
    return build_added(like, number, _sizes(blocks, like.dim), levels)


def _sizes(blocks: Sequence[Block], dim: int) -> dict[str, int]:
    """The sizes along a dimension of what blocks read and give, where they have it."""
    named: list[tuple[str, Any]] = []
    for block in blocks:
        named += zip(block.inputs, block.body.graph.find_nodes(op="placeholder"), strict=True)
        named += zip(block.outputs, block.body.graph.output_node().args[0], strict=True)  # pyright: ignore
    specs = ((name, node.meta.get("spec")) for name, node in named)
    return {name: spec.shape[dim] for name, spec in specs if isinstance(spec, TensorSpec) and len(spec.shape) > dim}


def _check_size(like: Likeness, side: fx.Node | None) -> None:
    """Raise `PartitionError` where what each block reads or gives, side by side, is more than a sweep may take."""
    if side is None:
        return
    spec = side.meta["spec"]
    size = len(like.results[0]) * math.prod(spec.shape) * spec.dtype.itemsize
    most = MOST_BYTES_HERE if spec.device.type == "cpu" else MOST_BYTES_THERE
    if size > most:
        what = "give" if like.added is not None else "read"
        raise PartitionError(f"side by side, what they {what} takes {size / 2**20:.3g} MiB, more than {most >> 20}")


def _looking_alike(rows: Sequence[Sequence[Block]]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if len(row) == 1:
            groups.setdefault(_look(row[0]), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _look(block: Block) -> str:
    """The calls in order, and the form of what the last one makes, or of the sum over parts that blocks spread."""
    calls = calls_in_order(block)
    sums = block.body.graph.find_nodes(op="call_function", target=sum_of_parts)
    last = [node.meta.get("spec") for node in sums or calls[-1:]]
    shapes = [(spec.shape, spec.dtype) if isinstance(spec, TensorSpec) else spec for spec in last]
    return f"{[node.target for node in calls]} {shapes}"
