"""A zoo of programs: as written, and compiled in two modes, in turns; CPU time of one thread.

Every program has a process of its own. Values and gradients are compared before anything is timed, from the same
random state. The default mode is timed as it is after 40 calls; `mode="max-autotune"` compiles at its first call.
`--contenders` adds torch.compile and named schedules, for the regret; `--only NAME ...` measures these anew.
"""

import argparse
import copy
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import fxsolve
from fxsolve.report.units import places
from measure import QUICK_RESULTS, RESULTS, THREADS, write_record

from zoo_programs import members
from zoo_programs.member import Member

ROUNDS, ROUND_SECONDS, WARM_CALLS, LIMIT = 11, 0.02, 40, 420
TOLERANCE = 1e-4  # of the largest entry: sweeps stop at 1e-6, and the steps of a loop carry that on
MODES = ("default", "max-autotune")
RIVALS = ("torch.compile", "gs", "jacobi", "newton", "scan")
LEAST = 0.95
QUICK = ("minGRU", "one linear layer")
Call = Callable[[], list[Tensor]]


def call_of(member: Member, program: Callable[..., Any]) -> Call:
    """One call on fresh copies of the inputs, from the same random state: results, and gradients if it trains."""
    leaves = [x for x in member.inputs if isinstance(x, Tensor) and x.requires_grad]

    def call() -> list[Tensor]:
        torch.manual_seed(1)
        for leaf in leaves:
            leaf.grad = None
        inputs = member.inputs if member.trains else tuple(map(torch.clone, member.inputs))
        parameters = list(program.parameters()) if isinstance(program, nn.Module) else []
        for parameter in parameters:
            parameter.grad = None
        with nullcontext() if member.trains else torch.no_grad():
            results = [x for x in pytree.tree_leaves(program(*inputs)) if isinstance(x, Tensor)]
            if not member.trains:
                return results
            loss = sum(x.square().mean() for x in results if x.requires_grad)
        assert isinstance(loss, Tensor)
        loss.backward()
        return [*results, *(p.grad for p in (*parameters, *leaves) if p.grad is not None)]

    return call


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference of an entry, relative to the largest entry of its tensor; infinite for other kinds."""
    if len(found) != len(expected):
        return math.inf
    return max((_difference(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)), default=0.0)


def _difference(a: Tensor, b: Tensor) -> float:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return math.inf
    if torch.equal(a, b) or not a.numel():
        return 0.0
    wide = torch.complex128 if a.is_complex() else torch.float64
    apart = (a.to(wide) - b.to(wide)).abs().nan_to_num(nan=math.inf)
    return float(apart.max() / b.to(wide).abs().max().clamp(min=1e-30))


def cpu_seconds() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def taken_by(call: Call) -> float:
    """CPU seconds, with those of compilers."""
    began = cpu_seconds()
    call()
    return cpu_seconds() - began


def ratios(calls: dict[str, Call], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians over rounds: ms of a call of each, and eager's time over that of each, round by round."""
    began = time.process_time()
    calls["eager"]()
    each = max(1, int(ROUND_SECONDS / max(time.process_time() - began, 1e-5)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.process_time()
            for _ in range(each):
                call()
            times[name].append((time.process_time() - began) / each * 1e3)
    gains = {
        name: statistics.median(a / b for a, b in zip(times["eager"], found, strict=True))
        for name, found in times.items()
    }
    return {name: statistics.median(found) for name, found in times.items()}, gains


def compiler(contender: str) -> Callable[[Any], Any]:
    """What makes the program that is to be timed of the one as written."""
    if contender == "torch.compile":
        return torch.compile
    if contender in MODES:
        return partial(fxsolve.compile, mode=contender)
    return partial(fxsolve.compile, schedule=contender)


def measure(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """One program, in this process."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    member = members()[name]()
    calls = {"eager": call_of(member, member.program)}
    expected = calls["eager"]()
    worst: dict[str, float] = {"eager": difference(calls["eager"](), expected)}
    first: dict[str, float] = {"eager": taken_by(calls["eager"])}
    said: dict[str, dict[str, Any]] = {}
    for contender in chosen.contenders:
        own = copy.deepcopy(member.program) if isinstance(member.program, nn.Module) else member.program
        program = compiler(contender)(own)
        call = call_of(member, program)
        try:
            first[contender] = taken_by(call)
            calls_now = WARM_CALLS if contender == "default" else 3
            worst[contender] = max(difference(call(), expected) for _ in range(calls_now))
        except Exception as error:
            if contender in MODES:
                raise
            said[contender] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            continue
        calls[contender] = call
        if contender != "torch.compile":
            report = program.report()
            stages = {stage: round(seconds, 2) for stage, seconds in dict(report.seconds).items()}
            said[contender] = {
                "status": report.status, "schedule": str(program.schedule), "reason": places(report.reason),
                "stages": stages, "ops": report.calls, "loops": [[one.name, one.length] for one in report.loops],
                "notes": list(map(places, report.notes)),
            }  # fmt: skip
    ms, gain = ratios(calls, chosen.rounds)
    kind = {"trains": member.trains, "sequential": member.sequential}
    return {"name": name, **kind, "ms": ms, "gain": gain, "difference": worst, "first_s": first, "said": said}


def row(case: dict[str, Any]) -> str:
    gains = {name: gain for name, gain in case["gain"].items() if name != "eager"}
    worst = max(case["difference"].values())
    marks = " WRONG" * (worst > TOLERANCE) + " SLOW" * any(gains[mode] < LEAST for mode in MODES if mode in gains)
    told = "  ".join(f"{name} {gain:.2f}x, first {case['first_s'][name]:.1f} s" for name, gain in gains.items())
    return f"{case['name']:38} {case['ms']['eager']:8.2f} ms  {told}  {worst:.0e}{marks}"


def summary(cases: list[dict[str, Any]]) -> dict[str, float]:
    """Geometric means of the gains of sequential programs, and how many of all are slower than as written."""
    found: dict[str, float] = {}
    for mode in MODES:
        gains = {case["name"]: case["gain"][mode] for case in cases if mode in case["gain"]}
        logs = [math.log(gains[case["name"]]) for case in cases if case["sequential"] and case["name"] in gains]
        found[f"{mode}, geometric mean"] = math.exp(statistics.fmean(logs)) if logs else 1.0
        found[f"{mode}, below {LEAST}"] = sum(gain < LEAST for gain in gains.values())
    regrets = [max(case["gain"].values()) / case["gain"][MODES[1]] for case in cases if set(RIVALS) & set(case["gain"])]
    return found | ({"median regret": statistics.median(regrets)} if regrets else {})


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="programs to measure anew; default: all")
    parser.add_argument("--missing", action="store_true", help="measure what the file has not yet")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--contenders", nargs="+", choices=(*MODES, *RIVALS), default=MODES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="two programs, two rounds: checks that the script runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def apart(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own, which knows of no earlier compilation; what went wrong, as "failed"."""
    with tempfile.TemporaryDirectory() as caches:
        known = {"FXSOLVE_CACHE": "off", "TORCHINDUCTOR_CACHE_DIR": caches}
        command = [sys.executable, __file__, "--one", name, "--rounds", str(chosen.rounds)]
        command += ["--contenders", *chosen.contenders]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=os.environ | known)
        except subprocess.TimeoutExpired:
            return {"name": name, "failed": f"not ready after {LIMIT} s"}
    if done.returncode:
        return {"name": name, "failed": "\n".join(done.stderr.splitlines()[-12:])}
    return json.loads(done.stdout.splitlines()[-1])


def save(out: Path, cases: dict[str, dict[str, Any]], chosen: argparse.Namespace) -> None:
    statistic = "CPU time, median of the ratios of rounds in turns"
    found = {
        "summary": summary([case for case in cases.values() if "failed" not in case]),
        "cases": [cases[name] for name in members() if name in cases],
    }
    write_record(out, "zoo", {"threads": THREADS, "rounds": chosen.rounds, "statistic": statistic}, found)


def main() -> None:
    chosen = options()
    if chosen.one:
        print(json.dumps(measure(chosen.one, chosen)))
        return
    out = chosen.out or (QUICK_RESULTS if chosen.quick else RESULTS) / "zoo.json"
    cases = {one["name"]: one for one in json.loads(out.read_text())["cases"]} if out.exists() else {}
    names = list(QUICK if chosen.quick else chosen.only or members())
    chosen.rounds = 2 if chosen.quick else chosen.rounds
    for name in names:
        if chosen.missing and name in cases:
            continue
        cases[name] = apart(name, chosen)
        failed = cases[name].get("failed")
        print(f"{name:38} FAILED\n{failed}" if failed else row(cases[name]), flush=True)
        save(out, cases, chosen)
    for what, value in json.loads(out.read_text())["summary"].items():
        print(f"{what}: {value:.2f}")
    print(f"written: {out}")


if __name__ == "__main__":
    main()
