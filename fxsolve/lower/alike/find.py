"""Which rows of blocks are alike, as modules that sweep over several of them at once, and why others are not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Block
from fxsolve.lower.alike.build import build_alike
from fxsolve.lower.alike.match import Likeness, calls_in_order, match
from fxsolve.solvers.alike import Alike


@dataclass(frozen=True)
class Found:
    """Modules, each with the numbers of the rows that it sweeps over, and notes on these and on all others."""

    together: tuple[tuple[tuple[int, ...], Alike], ...]
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
    together, notes = [], []
    for looking in _looking_alike(rows):
        group = tuple(sorted(looking, key=lambda place: levels[place]))
        blocks = [rows[place][0] for place in group]
        try:
            like = match(blocks, read, set(made))
            _check_size(like)
            module = build_alike(like, number, made, [levels[place] for place in group])
        except PartitionError as error:
            notes.append(f"{blocks[0].name} to {blocks[-1].name} are swept one by one: {error}")
        else:
            together.append((group, module))
            notes.append(f"{len(group)} blocks, {blocks[0].name} to {blocks[-1].name}, are swept at once")
    looked = sum(map(len, _looking_alike(rows)))
    if looked < len(rows):
        notes.append(f"{len(rows) - looked} of {len(rows)} blocks from {rows[0][0].name} on are like no other")
    return Found(tuple(together), tuple(notes))


def _check_size(like: Likeness) -> None:
    """Raise `PartitionError` where what each block reads, side by side, is more than a sweep may take."""
    spec = like.join.meta["spec"] if like.join is not None else None
    if spec is None:
        return
    size = len(like.results[0]) * math.prod(spec.shape) * spec.dtype.itemsize
    most = MOST_BYTES_HERE if spec.device.type == "cpu" else MOST_BYTES_THERE
    if size > most:
        raise PartitionError(f"side by side, what they read takes {size / 2**20:.3g} MiB, more than {most >> 20}")


def _looking_alike(rows: Sequence[Sequence[Block]]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if len(row) == 1:
            groups.setdefault(_look(row[0]), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _look(block: Block) -> str:
    """The calls in order, and the shape of what the last one makes."""
    calls = calls_in_order(block)
    last = calls[-1].meta.get("spec") if calls else None
    return f"{[node.target for node in calls]} {last}"
