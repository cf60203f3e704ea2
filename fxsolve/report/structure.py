"""The structure of straight-line code as a part of the report, with what parallel units would give."""

from collections.abc import Sequence

from fxsolve.ir.spec import System, inputs_of, outputs_of
from fxsolve.report.data import BlockReport, SkipReport, StructureReport, UnitsReport
from fxsolve.report.units import count, digits
from fxsolve.structure.quotient import levels_of, longest_path, skips_of, time_on

_GAIN = 1.05


def structure_report(system: System, seconds: Sequence[float]) -> StructureReport:
    """The equations of a system, of which each took `seconds` in order: who reads whom, how deep, and how long."""
    writer = {name: k for k, equation in enumerate(system.equations) for name in outputs_of(equation)}
    reads = [sorted({writer[name] for name in inputs_of(one) if name in writer}) for one in system.equations]
    names, level = [equation.name for equation in system.equations], levels_of(reads)
    blocks = tuple(
        BlockReport(name, level[k], tuple(names[source] for source in reads[k]), seconds[k])
        for k, name in enumerate(names)
    )
    skips = sorted(skips_of(reads), key=lambda skip: (-skip.span, skip.source, skip.target))
    longest = SkipReport(names[skips[0].source], names[skips[0].target], skips[0].span) if skips else None
    chain = longest_path(dict(enumerate(reads)), dict(enumerate(seconds)))
    width = max(level.count(one) for one in set(level))
    units = [2**k for k in range(1, max(width - 1, 1).bit_length() + 1)]
    timed = tuple(UnitsReport(number, time_on(number, reads, seconds)) for number in units)
    return StructureReport(blocks, max(level), width, len(skips), longest, sum(seconds), chain, max(seconds), timed)


def gain(structure: StructureReport, on: UnitsReport) -> float:
    """How many times as fast so many units are as one."""
    return structure.sequential_seconds / on.seconds if on.seconds else 1.0


def verdict(structure: StructureReport) -> str:
    """What parallel units could give at most, and what sweeps would have to do for it."""
    best = max((gain(structure, one) for one in structure.units), default=1.0)
    most = int(structure.sequential_seconds / structure.slowest_seconds) if structure.slowest_seconds else 0
    sweeps = f"sweeps over all blocks at once would pay below {count(most, 'sweep')} of at most {structure.depth:,}"
    if best < _GAIN:
        return f"sequential is best here: nothing could run beside the longest chain; {sweeps}, with a unit a block"
    return (
        f"sequential is best here, on one unit; up to {structure.width:,} at once would give {digits(best)}x, "
        f"exactly; {sweeps}, with a unit a block"
    )
