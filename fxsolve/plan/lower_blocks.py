"""From a method over blocks to what runs: sweeps by one call, or the blocks level by level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import getitem

import torch

from fxsolve.ir.spec import Block
from fxsolve.lower.alike.find import NOTHING_ALIKE, find_alike
from fxsolve.lower.emission import Emission
from fxsolve.lower.readable import readable_copy
from fxsolve.plan.schedule import BlockMethod, JacobiBlocks
from fxsolve.plan.straight import Rows, blocks_of, reads_of_rows
from fxsolve.solvers.blocks import Blocks, jacobi_blocks
from fxsolve.solvers.stop import Stop
from fxsolve.structure.quotient import levels_of


def emit_blocks(emission: Emission, method: BlockMethod, blocks: Mapping[str, Block], stop: Stop | None) -> None:
    """Add the calls that solve those of `blocks` that the method names, with `stop` where it names no test itself."""
    named = ([blocks[name] for name in blocks_of(child) if name in blocks] for child in method.children)
    rows = [row for row in named if row]
    if not rows:
        return
    if isinstance(method, JacobiBlocks):
        _emit_sweeps(emission, rows, method.stop or stop or Stop())
        return
    level = levels_of(reads_of_rows(rows))
    for number in sorted(range(len(rows)), key=lambda number: level[number]):
        for block in rows[number]:
            emission.inline(block)


def _emit_sweeps(emission: Emission, rows: Rows, stop: Stop) -> None:
    swept = swept_blocks(rows, stop)
    held = emission.attribute(swept.blocks.name.replace(".", "_"), swept.blocks)
    arguments = tuple(emission.values[name] for name in swept.given)
    solved = emission.named(f"{held.target}_solved", jacobi_blocks, held, arguments, emission.spelled(stop))
    for place, name in enumerate(swept.made):
        emission.values[name] = emission.named(name, getitem, solved, place)


@dataclass(frozen=True)
class SweptBlocks:
    """Blocks as they are swept: the names of the values that they are `given`, and of those that they give."""

    blocks: Blocks
    given: tuple[str, ...]
    made: tuple[str, ...]


def swept_blocks(rows: Rows, stop: Stop) -> SweptBlocks:
    """Rows of blocks, each of which reads only those before it, as one module for sweeps.

    Those that are alike are swept at once where `stop` allows for rounding.
    """
    every = [block for row in rows for block in row]
    made = [name for block in every for name in block.outputs]
    own = set(made)
    given = list(dict.fromkeys(name for block in every for name in block.inputs if name not in own))
    number = {name: place for place, name in enumerate([*given, *made])}
    place = {block.name: at for at, block in enumerate(every)}
    levels = tuple(levels_of(reads_of_rows(rows)))
    found = NOTHING_ALIKE if stop.is_bitwise else find_alike(rows, number, levels)
    together = found.together
    grouped = [row for group, _ in together for row in group]
    told = {one for _, module in together for row in module.wiring.results for one in row}
    blocks = Blocks(
        group_name(every[0].name, every[-1].name),
        [readable_copy(block.body) for block in every],
        reads=tuple(tuple(number[name] for name in block.inputs) for block in every),
        rows=tuple(tuple(place[block.name] for block in row) for row in rows),
        levels=levels,
        unknowns=tuple(tuple(unknowns_of(block)) for block in every),
        results=tuple(number[name] for name in made),
        together=together,
        incomplete=tuple(row for row in grouped if not told.issuperset(_numbers(rows[row], number))),
        notes=found.notes,
    )
    return SweptBlocks(blocks, tuple(given), tuple(made))


def _numbers(row: Sequence[Block], number: Mapping[str, int]) -> list[int]:
    return [number[name] for block in row for name in block.outputs]


def unknowns_of(block: Block) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of each output of a block."""
    specs = [result.meta["spec"] for result in block.body.graph.output_node().args[0]]  # pyright: ignore
    return [(tuple(spec.shape), spec.dtype) for spec in specs]


def group_name(first: str, last: str) -> str:
    """What the names of the first and the last block have in common, up to a dot, or the first."""
    pairs = zip(first.split("."), last.split("."), strict=False)
    return ".".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) or first
