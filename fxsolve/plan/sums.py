"""Measure a repeat that only adds up, solved at once."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Block, Equation, Repeat, outputs_of
from fxsolve.lower.arguments import Values, sweep_arguments
from fxsolve.lower.lower import results_of, sweep_loop
from fxsolve.lower.readable import readable_copy
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import Steps
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.probe import ProbeRun, Results, least_seconds
from fxsolve.plan.trial import step_bytes
from fxsolve.rewrite.sums.fold import fold_sums
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.stop import Stop

_EXACT = Stop()
_MOST_BYTES = 2 << 30


def try_sum(repeat: Repeat, values: Values, stop: Stop) -> tuple[Candidate, ProbeRun | None]:
    """What it costs to add up everything at once, and the results; without results where that is ruled out."""
    name = str(Scan(Steps(repeat.name, 0, repeat.length)))
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
    equations = fold_sums(repeat)
    for part in equations:
        if isinstance(part, Repeat) and part.length * step_bytes(part) > _MOST_BYTES:
            raise PartitionError(f"the terms of all steps of {repeat.name} hold more than {_MOST_BYTES >> 30} GiB")
    solvers = [_solver(equation) for equation in equations]

    def solve() -> Results:
        named = dict(values.named)
        for solver in solvers:
            named.update(solver(replace(values, named=named)))
        return {name: named[name] for name in outputs_of(repeat)}

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


def _solver(equation: Equation) -> Callable[[Values], dict[str, Tensor]]:
    if isinstance(equation, Block):
        return _block_solver(equation)
    loop, bounds, positions = sweep_loop(equation, (0, equation.length)), (0, equation.length), results_of(equation)

    def solve(values: Values) -> dict[str, Tensor]:
        flat = jacobi(loop, *sweep_arguments(equation, values).flat(), 0.0, 0.0, None, bounds)
        return {name: flat[position] for name, position in positions.items()}

    return solve


def _block_solver(block: Block) -> Callable[[Values], dict[str, Tensor]]:
    body = readable_copy(block.body)

    def solve(values: Values) -> dict[str, Tensor]:
        return dict(zip(block.outputs, body(*(values.named[name] for name in block.inputs)), strict=True))

    return solve
