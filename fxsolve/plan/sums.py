"""Measure a repeat that only adds up, solved at once."""

from dataclasses import replace

import torch

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import Values
from fxsolve.plan.decision import Candidate
from fxsolve.plan.lower import lower
from fxsolve.plan.method import whole
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.probe import ProbeRun, least_seconds
from fxsolve.plan.trial import step_bytes
from fxsolve.rewrite.sums.fold import fold_sums
from fxsolve.solvers.stop import Stop

_EXACT = Stop()
_MOST_BYTES = 2 << 30


def try_sum(repeat: Repeat, values: Values, stop: Stop) -> tuple[Candidate, ProbeRun | None]:
    """What it costs to add up everything at once, and the results; without results where that is ruled out."""
    name = str(Sum(whole(repeat)))
    if not may_reorder(repeat, stop):
        return Candidate(name, "eager", None, "not tried", "bitwise equality is asked for"), None
    try:
        run = run_sum(repeat, values)
    except PartitionError as error:
        return Candidate(name, "eager", None, "not tried", str(error)), None
    reason = "only the last sum is read: all terms at once, added up in another order"
    return Candidate(name, "eager", run.seconds, "measured", reason), run


def run_sum(repeat: Repeat, values: Values) -> ProbeRun:
    """All terms at once, and their sums. Raises `PartitionError` if the terms cannot be batched, or are too large."""
    for part in fold_sums(repeat):
        if isinstance(part, Repeat) and part.length * step_bytes(part) > _MOST_BYTES:
            raise PartitionError(f"the terms of all steps of {repeat.name} hold more than {_MOST_BYTES >> 30} GiB")
    solve = lower(repeat, (Sum(whole(repeat)),)).bind(values)
    with torch.no_grad():
        return ProbeRun(solve(), least_seconds(solve), 1)


def may_reorder(repeat: Repeat, stop: Stop) -> bool:
    """Whether `stop` allows what a repeat adds up to be added up in another order."""
    return all(_is_allowed(dtype, stop) for dtype in _dtypes(repeat))


def _is_allowed(dtype: torch.dtype, stop: Stop) -> bool:
    """Whether sums of a type may be taken in another order: always exact for integers, up to rounding for others."""
    inexact = dtype.is_floating_point or dtype.is_complex
    return not inexact or replace(stop, max_sweeps=None) != _EXACT


def _dtypes(repeat: Repeat) -> list[torch.dtype]:
    return [node.meta["spec"].dtype for node in repeat.body.graph.output_node().args[0]]  # pyright: ignore
