"""Blocks that read one another, as the graph that a schedule over them rests on, and schedules for all of them."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from fxsolve.ir.spec import Block, Equation, System
from fxsolve.plan.schedule import Apply, GaussSeidel, JacobiBlocks, LevelsBlocks, Schedule
from fxsolve.rewrite.blocks.calls import cost_of_body
from fxsolve.rewrite.blocks.split import is_mostly_straight
from fxsolve.structure.quotient import waists

Rows = Sequence[Sequence[Block]]


def reads_of_rows(rows: Rows) -> list[set[int]]:
    """Which rows of blocks each row reads, all of them before it."""
    writer = {name: number for number, row in enumerate(rows) for block in row for name in block.outputs}
    return [
        {writer[name] for block in row for name in block.inputs if name in writer} - {number}
        for number, row in enumerate(rows)
    ]


def straight_runs(system: System) -> list[list[Block]]:
    """The blocks in a row of which two or more are costly, of one pass each, where loops are not the main thing."""
    if not is_mostly_straight(system):
        return []
    runs = (list(run) for kind, run in groupby(system.equations, _kind) if kind)
    return [run for run in runs if sum(map(is_costly, run)) > 1]  # pyright: ignore[reportArgumentType, reportReturnType]


def _kind(equation: Equation) -> str:
    """ "" for a repeat, or the pass that a block belongs to."""
    if not isinstance(equation, Block):
        return ""
    return "backward" if any("backward" in node.meta for node in equation.body.graph.nodes) else "forward"


def is_costly(block: Block) -> bool:
    """Whether a block computes a product or a convolution."""
    return cost_of_body(block.body) > 0


def everywhere(system: System, name: str) -> Iterator[Schedule]:
    """`jacobi` or `levels` for all blocks that straight-line code was written as."""
    for run in straight_runs(system):
        if name == LevelsBlocks.name:
            yield LevelsBlocks(tuple(Apply(block.name) for block in run))
        elif name == JacobiBlocks.name:
            yield from jacobi_between_waists(run)


def jacobi_between_waists(run: Sequence[Block]) -> list[Schedule]:
    """Sweeps over the blocks between any two that every path passes, and these in order.

    Nothing behind such a block can be right before it is. Where there are no others, as in a chain, all are swept.
    """
    narrow = set(waists(reads_of_rows([[block] for block in run])))
    parts = [
        (is_narrow, tuple(Apply(run[number].name) for number in numbers))
        for is_narrow, numbers in _grouped(len(run), narrow)
    ]
    if all(is_narrow or len(blocks) == 1 for is_narrow, blocks in parts):
        return [JacobiBlocks(tuple(Apply(block.name) for block in run))]
    return [
        schedule
        for is_narrow, blocks in parts
        for schedule in (blocks if is_narrow or len(blocks) == 1 else (JacobiBlocks(blocks),))
    ]


def _grouped(count: int, narrow: set[int]) -> Iterator[tuple[bool, list[int]]]:
    for is_narrow, numbers in groupby(range(count), narrow.__contains__):
        yield is_narrow, list(numbers)


def blocks_of(child: Apply | GaussSeidel) -> list[str]:
    """The blocks of a child of a method over blocks."""
    return [child.block] if isinstance(child, Apply) else [one.block for one in child.children]  # pyright: ignore[reportAttributeAccessIssue]
