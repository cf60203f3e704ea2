"""The section of the report about straight-line code, in words."""

from collections.abc import Sequence

from rich.text import Text

from fxsolve.report.certified import error_text, solution_text
from fxsolve.report.data import StructureReport
from fxsolve.report.structure import gain, verdict
from fxsolve.report.units import count, digits, time_text
from fxsolve.solvers.certificate import Certificate


def structure_rows(structure: StructureReport, certificates: Sequence[Certificate]) -> list[tuple[str, Text]]:
    """Pairs of a name and what is said; `certificates` are those of all solves."""
    names = {block.name for block in structure.blocks}
    groups = [one for one in certificates if one.solution.name not in names]
    own = [one for one in groups if any(name.startswith(one.solution.name) for name in names)]
    rows = [
        ("blocks", f"{len(structure.blocks):,}, {structure.depth:,} deep, at most {structure.width:,} of one level"),
        ("skips", _skips(structure)),
        ("in order", f"{time_text(structure.sequential_seconds)}, measured"),
        ("chain", _chain(structure)),
        ("units", "; ".join(_units(structure))),
        ("sweep", f"{time_text(structure.slowest_seconds)} with a unit for each block, by the slowest (a model)"),
        ("verdict", verdict(structure)),
        ("solution", solution_text(own)),
        ("error", error_text(own)),
    ]
    return [(name, Text(text)) for name, text in rows]


def _skips(structure: StructureReport) -> str:
    if structure.longest is None:
        return "none: every block reads only the level before it"
    one = structure.longest
    reads = count(structure.skips, "read")
    return f"{reads} over more than one level, the longest {one.span:,}: {one.source} -> {one.target}"


def _chain(structure: StructureReport) -> str:
    share = structure.chain_seconds / structure.sequential_seconds if structure.sequential_seconds else 1.0
    return f"{time_text(structure.chain_seconds)} for the longest chain, {100 * share:.0f}% of it"


def _units(structure: StructureReport) -> list[str]:
    """2 units: 7.31 ms, 1.20x."""
    return [
        f"{one.units:,} units: {time_text(one.seconds)}, {digits(gain(structure, one))}x" for one in structure.units
    ]
