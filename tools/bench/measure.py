"""What all benchmarks share: interleaved timing, the record of a case, and JSON that says how it was measured."""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1] / "examples"))

# The benchmarks measure the examples' own programs, which are scripts and not installed.
from comparing import Program, compiled, solutions, timed  # noqa: E402

RESULTS = FOLDER / "results"
QUICK_RESULTS = FOLDER.parents[1] / "out" / "bench"
THREADS = 1


@dataclass(frozen=True)
class Case:
    """One program, measured: medians in ms of every contender, and how the outputs compare with `baseline`'s."""

    name: str
    ms: dict[str, float]
    baseline: str
    prediction: float
    schedule: str
    solved: list[str]
    equal: bool
    difference: float
    first_call_s: float
    stages_s: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.ms[self.baseline] / self.ms["fxsolve"]

    @property
    def kept(self) -> bool:
        return self.ratio >= self.prediction


def options(
    name: str, description: str, argv: Sequence[str] | None = None, choices: Sequence[str] = ()
) -> argparse.Namespace:
    """The command line of a benchmark, with its parts by name if it has any; sets the thread count."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="JSON file; default: the committed one, with --quick one in out/")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--quick", action="store_true", help="little training, two repeats: checks that the script runs"
    )
    parser.add_argument("--train-seconds", type=float, default=60.0, help="at most this long for each model")
    if choices:
        parser.add_argument(
            "--only", nargs="+", choices=choices, default=choices, help="parts to measure; default: all"
        )
    chosen = parser.parse_args(argv)
    if chosen.quick:
        chosen.repeats, chosen.train_seconds = 2, 2.0
    chosen.keeps_others = bool(choices) and set(chosen.only) < set(choices)
    if chosen.out is None:
        chosen.out = (QUICK_RESULTS if chosen.quick else RESULTS) / f"{name}.json"
    torch.set_num_threads(THREADS)
    return chosen


def interleaved(programs: dict[str, Program], inputs: tuple[Tensor, ...], repeats: int) -> dict[str, float]:
    """Median milliseconds of each program over `repeats` rounds; a round runs every program once, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for round_number in range(repeats + 1):
        for name, program in programs.items():
            _, seconds = timed(program, inputs)
            if round_number > 0:
                times[name].append(seconds * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(
    name: str,
    program: Program,
    inputs: tuple[Tensor, ...],
    *,
    prediction: float,
    repeats: int,
    rivals: dict[str, Program] | None = None,
) -> Case:
    """Time `program` as written, through fxsolve and against `rivals`; `prediction` is the least ratio expected."""
    with Console(stderr=True).status(f"{name}: compiling"):
        fast, first_call = compiled(program, inputs)
    with Console(stderr=True).status(f"{name}: measuring"):
        ms = interleaved({"eager": program, "fxsolve": fast, **(rivals or {})}, inputs, repeats)
        plain, _ = timed(program, inputs)
        output, _ = timed(fast, inputs)
        solved = [f"{seen.name}: {seen.method} {seen.sweeps} of {seen.length}" for seen in solutions(fast, inputs)]
    return Case(
        name=name,
        ms=ms,
        baseline="eager",
        prediction=prediction,
        schedule=str(fast.schedule),
        solved=solved,
        equal=torch.equal(plain, output),
        difference=(plain.double() - output.double()).abs().max().item(),
        first_call_s=first_call,
        stages_s=dict(fast.report().seconds),
    )


def device_name(device: str) -> str:
    """What the hardware calls itself."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def save(
    chosen: argparse.Namespace, name: str, cases: Sequence[Case], model: dict[str, float | str] | None = None
) -> None:
    """Write the cases as JSON with all that is needed to judge them, and print them; `model` are derived figures.

    Where `--only` names some parts, the other cases of the file stay in it, with the day on which they were measured.
    """
    settings = {
        "device": chosen.device,
        "threads": THREADS,
        "repeats": chosen.repeats,
        "train_seconds": chosen.train_seconds,
        "statistic": "median, contenders interleaved in one run",
    }
    told = {"date": today(), "device": device_name(chosen.device)}
    now = {case.name: asdict(case) | {"ratio": case.ratio, "kept": case.kept} | told for case in cases}
    others = earlier(chosen.out, told["device"]) if chosen.keeps_others else {}
    found: dict[str, Any] = {
        "cases": list((others | now).values()),
        **({"model": model} if model else {}),
    }
    write_record(chosen.out, name, settings, found, chosen.device)
    Console(width=140).print(as_table(name, cases))
    print(f"written: {chosen.out}")


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def earlier(out: Path, device: str) -> dict[str, dict[str, Any]]:
    """The cases of a result file that say that they were measured on this device, by name."""
    cases = json.loads(out.read_text())["cases"] if out.exists() else []
    return {case["name"]: case for case in cases if case.get("device") == device}


def write_record(out: Path, name: str, settings: dict[str, Any], found: dict[str, Any], device: str = "cpu") -> None:
    """Write what was `found` as JSON, with where and how."""
    record = {
        "benchmark": name,
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": today(),
        "settings": settings,
        **found,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=2) + "\n")


def as_table(name: str, cases: Sequence[Case]) -> Table:
    table = Table(title=name)
    for heading in ("case", "ms", "ratio", "predicted", "sweeps", "difference", "recording s", "first call s"):
        table.add_column(heading)
    for case in cases:
        times = "\n".join(f"{contender} {ms:.2f}" for contender, ms in case.ms.items())
        ratios = "\n".join(
            f"{ms / case.ms['fxsolve']:.2f}x {rival}" for rival, ms in case.ms.items() if rival != "fxsolve"
        )
        predicted = f"{case.prediction}x {'kept' if case.kept else 'MISSED'}"
        exact = "bit-identical" if case.equal else f"{case.difference:.1e}"
        seconds = (f"{case.stages_s.get('capture', 0.0):.1f}", f"{case.first_call_s:.1f}")
        table.add_row(case.name, times, ratios, predicted, "\n".join(case.solved), exact, *seconds)
    return table
