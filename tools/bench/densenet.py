"""A DenseNet-201 of one image as 103 equations: every schedule over its blocks on one CPU thread, and Song's model.

Song et al. 2021 never ran theirs in parallel: their 2.13x is the sum of the times of 98 layers over sweeps times the
slowest layer. The same model on times measured here stands beside what really runs.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import fxsolve
from fxsolve.ir.spec import Block
from fxsolve.plan.auto import example_values
from fxsolve.plan.lower_blocks import swept_blocks
from fxsolve.plan.timing import time_equations
from fxsolve.report.data import StructureReport
from fxsolve.report.structure import structure_report
from fxsolve.solvers.blocks import Blocks, sweep_once
from fxsolve.solvers.stop import Stop
from measure import Case, options, save

from densenet_blocks import close, logits_after_each_sweep, same_five, standardised, sweeps_until

TOLERANCE = 1e-5


def main() -> None:
    chosen = options("densenet", __doc__ or "")
    config, side = ((2, 3), 32) if chosen.quick else ((6, 12, 48, 32), 224)
    model, x = standardised(config, side), torch.randn(1, 3, side, side)
    with torch.no_grad():
        exact = model(x)
        logits = list(logits_after_each_sweep(model, x))
        contenders = {
            "fxsolve": compiled(model, x, "auto", None),
            "levels": compiled(model, x, "levels", None),
            "jacobi": compiled(model, x, "jacobi", None),
            f"jacobi to {TOLERANCE:g}": compiled(model, x, "jacobi", TOLERANCE),
        }
        found = contenders["jacobi"](x)
        ms = times({"eager": model, **contenders}, x, chosen.repeats)
        structure = measured(model, x, chosen.repeats)
        dense = list(dense_blocks(model, x, chosen.repeats))
    five, near = sweeps_until(logits, same_five(exact)), sweeps_until(logits, close(exact))
    print(f"of {len(logits)} sweeps: five largest logits from {five[1]} on, all within 1e-4 from {near[1]} on")
    print(model_text(structure, five[1]))
    for one in dense:
        print("{name}: {calls_together} calls a sweep, {calls_one_by_one} one by one; "
              "{ms_together:.0f} ms for {layers} sweeps, {ms_one_by_one:.0f} ms".format(**one))  # fmt: skip
    counted = {f"{one['name']}.{key}": number for one in dense for key, number in one.items() if key != "name"}
    model_figures = {**figures(structure, five, near, len(logits)), **counted}
    save(chosen, "densenet", [case(contenders, ms, exact, found)], model=model_figures)


def compiled(model: nn.Module, x: torch.Tensor, schedule: str, tolerance: float | None) -> Any:
    fast = fxsolve.compile(model, (x,), schedule=schedule, backend="eager", tolerance=tolerance)
    fast(x)
    return fast


def measured(model: nn.Module, x: torch.Tensor, repeats: int) -> StructureReport:
    """The structure with the shortest of several times of each block."""
    program = fxsolve.capture(model, x)
    system = fxsolve.partition(program).system
    rounds = [time_equations(system, example_values(program)) for _ in range(2 * repeats)]
    return structure_report(system, [min(seconds) for seconds in zip(*rounds, strict=True)])


class Launches(TorchDispatchMode):
    """Counts the calls that compute something; views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func is torch.ops.aten.detach.default)
        return func(*args, **(kwargs or {}))


def dense_blocks(model: nn.Module, x: torch.Tensor, repeats: int) -> Iterator[dict[str, Any]]:
    """Of each dense block, calls of a sweep and CPU milliseconds of as many as it is deep: all at once, one by one."""
    program = fxsolve.capture(model, x)
    equations = [one for one in fxsolve.partition(program).system.equations if isinstance(one, Block)]
    whole, known = swept_blocks([[one] for one in equations], Stop()), example_values(program)
    values = whole.blocks.in_order(whole.blocks.start(tuple(known[name] for name in whole.given)), 1)
    solved = dict(zip([*whole.given, *whole.made], values, strict=True))
    names = dict.fromkeys(one.name.rpartition(".")[0] for one in equations if ".denselayer" in one.name)
    for name in names:
        rows = [[one] for one in equations if one.name.startswith(f"{name}.")]
        found: dict[str, Any] = {"name": name, "layers": len(rows)}
        for how, stop in (("together", Stop(TOLERANCE)), ("one_by_one", Stop())):
            swept = swept_blocks(rows, stop)
            start = swept.blocks.start(tuple(solved[one] for one in swept.given))
            found[f"calls_{how}"] = calls_of_second_sweep(swept.blocks, start)
            spent = [cpu_ms_of_sweeps(swept.blocks, start) for _ in range(repeats)]
            found[f"ms_{how}"] = statistics.median(spent)
        yield found


def calls_of_second_sweep(blocks: Blocks, values: list[torch.Tensor]) -> int:
    """The first also runs the layer that reads no list, and is like no other."""
    progress = blocks.progress(values)
    first = sweep_once(blocks, values, 1, progress)
    assert first is not None
    with Launches() as launches:
        sweep_once(blocks, first[0], 2, progress)
    return launches.count


def cpu_ms_of_sweeps(blocks: Blocks, values: list[torch.Tensor]) -> float:
    start = time.process_time()
    progress = blocks.progress(values)
    for level in range(1, max(blocks.levels) + 1):
        made = sweep_once(blocks, values, level, progress)
        assert made is not None
        values = made[0]
    return 1e3 * (time.process_time() - start)


def times(programs: dict[str, Any], x: torch.Tensor, repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of each, in turn: other programs on the machine do not count."""
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            start = time.process_time()
            program(x)
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(one) for name, one in spent.items()}


def figures(
    structure: StructureReport, five: tuple[int, int], near: tuple[int, int], depth: int
) -> dict[str, float | str]:
    """What Song's model gives on the times of this device, and on layers that all took the same."""
    sweep = five[1] * structure.slowest_seconds
    layers = [one.seconds for one in structure.blocks if "denselayer" in one.name]
    return {
        "basis": "model of Song et al. 2021: one unit for each block, sweeps times the slowest block",
        "blocks": len(structure.blocks),
        "depth": depth,
        "sweeps_until_five_largest": five[1],
        "sweeps_until_1e-4": near[1],
        "sequential_ms": 1e3 * structure.sequential_seconds,
        "longest_chain_ms": 1e3 * structure.chain_seconds,
        "slowest_block_ms": 1e3 * structure.slowest_seconds,
        "slowest_block": max(structure.blocks, key=lambda one: one.seconds).name,
        "model_speedup": structure.sequential_seconds / sweep,
        "model_speedup_of_equal_blocks": len(structure.blocks) / five[1],
        "dense_layers": len(layers),
        "dense_layers_ms": 1e3 * sum(layers),
        "slowest_dense_layer_ms": 1e3 * max(layers),
        "model_speedup_of_dense_layers": sum(layers) / (five[1] * max(layers)),
    }


def model_text(structure: StructureReport, sweeps: int) -> str:
    ratio = structure.sequential_seconds / (sweeps * structure.slowest_seconds)
    return f"model, a unit for each block: {ratio:.2f}x; were all blocks equal, {len(structure.blocks) / sweeps:.2f}x"


def case(contenders: dict[str, Any], ms: dict[str, float], exact: torch.Tensor, found: torch.Tensor) -> Case:
    report = contenders["jacobi"].report()
    return Case(
        name="DenseNet-201, one image, CPU time",
        ms=ms,
        baseline="eager",
        prediction=0.9,
        schedule=report.schedule,
        solved=[f"{run.loop}: {run.method} {run.sweeps} of {run.length}" for run in report.runs],
        equal=torch.equal(exact, found),
        difference=float((exact - found).abs().max()),
        first_call_s=sum(seconds for _, seconds in report.seconds),
        stages_s=dict(report.seconds),
    )


if __name__ == "__main__":
    main()
