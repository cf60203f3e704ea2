"""The commands of the command line; `fxsolve_command` reads what was typed."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import fxsolve
from fxsolve.bench.bench import BenchSettings, bench_subject
from fxsolve.bench.data import bench_json
from fxsolve.bench.plot import save_plot
from fxsolve.bench.table import print_bench
from fxsolve.capture.program import Program
from fxsolve.doctor import examine
from fxsolve.errors import CaptureError, FxSolveError, PartitionError
from fxsolve.factory import Subject, load, users_errors
from fxsolve.ir.spec import System
from fxsolve.ir.text import pattern_text, system_text
from fxsolve.plan.text import parse_schedule
from fxsolve.report.difference import within
from fxsolve.report.progress import progress
from fxsolve.report.race import race, race_text
from fxsolve.report.report import Report
from fxsolve.report.text import print_report
from fxsolve.report.to_json import to_json
from fxsolve.runtime.compiled import draw, save
from fxsolve.view.drawing import Drawing
from fxsolve_command import main

__all__ = ["main", "run"]


def run(options: argparse.Namespace) -> int:
    """Run the command that was typed: 0 if it worked, 1 if --check found a difference, 2 if it cannot be done."""
    try:
        return _run_command(options)
    except (FxSolveError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # the reader of a pipe left (| head): python would complain again when it flushes standard output at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        if options.traceback:
            raise
        print(f"fxsolve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run_command(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        print(examine())
        return 0
    with progress(f"calling {options.target}"):
        subject = load(options.target, options.input)
    with torch.set_grad_enabled(options.grad), users_errors(subject):
        return COMMANDS[options.command](subject, options)


def _report(subject: Subject, options: argparse.Namespace) -> int:
    if options.emit:
        return _emit(subject, options)
    fast = _compiled(subject, options)
    report = fast.report()
    if options.html:
        save(fast, options.html)
    elif options.json:
        print(to_json(report))
    else:
        print_report(report, sys.stdout)
    return 0


def _graph(subject: Subject, options: argparse.Namespace) -> int:
    out = options.out or Path(f"{subject.name}.{options.format}")
    print(_drawing(subject, options).save(out))
    return 0


def _drawing(subject: Subject, options: argparse.Namespace) -> Drawing:
    """What would run, where a schedule is asked for; what was chosen otherwise."""
    if options.schedule in ("auto", "original") or options.schedule.endswith(".json"):
        drawing = draw(_compiled(subject, options))
    else:
        system = _system(subject)
        drawing = Drawing(system, str(parse_schedule(options.schedule, system)))
    before = str(parse_schedule("gs", drawing.system)) if options.before else ""
    return replace(drawing, detail=options.detail, before=before)


def _run(subject: Subject, options: argparse.Namespace) -> int:
    if options.emit:
        return _emit(subject, options)
    fast = _compiled(subject, options)
    report = fast.report()
    tolerance = _tolerance(options.tolerance, report)
    with progress("timing both programs in turn"):
        result = race(subject.model, fast, subject.inputs, options.repeat, tolerance, subject.state())
    if report.status == "left alone":
        print(f"left alone: {report.reason}")
    print(race_text(result, report.schedule))
    if options.check and not within(result.check):
        difference = f"{result.check.max_difference:.3g}, more than {tolerance:g}"
        print(f"fxsolve: the results differ by {difference}", file=sys.stderr)
        return 1
    return 0


def _bench(subject: Subject, options: argparse.Namespace) -> int:
    settings = BenchSettings(options.repeat, options.threads, options.limit, options.backend)
    benchmark = bench_subject(subject, settings)
    if options.plot:
        save_plot(benchmark, options.plot)
    if options.json:
        print(bench_json(benchmark))
    else:
        print_bench(benchmark, sys.stdout)
    return 0


def _tolerance(given: float | None, report: Report) -> float:
    if given is not None:
        return given
    return report.check.tolerance if report.check else 0.0


def _emit(subject: Subject, options: argparse.Namespace) -> int:
    print(_stage_text(subject, options).rstrip("\n"))
    return 0


COMMANDS: Mapping[str, Callable[[Subject, argparse.Namespace], int]] = {
    "report": _report,
    "graph": _graph,
    "run": _run,
    "bench": _bench,
}


# Everything below calls the compiler.


def _stage_text(subject: Subject, options: argparse.Namespace) -> str:
    match options.emit:
        case "program":
            return _program(subject).module.code
        case "system":
            return system_text(_system(subject))
        case "pattern":
            return pattern_text(_system(subject))
    fast = _compiled(subject, options)
    match options.emit:
        case "schedule":
            return fast.report().schedule
        case "code":
            return fast.code
        case _:
            return str(fast.report())


def _program(subject: Subject) -> Program:
    args, kwargs = subject.inputs()
    with progress(f"recording {subject.name}"):
        return fxsolve.capture(subject.model, *args, **kwargs)


def _system(subject: Subject) -> System:
    program = _program(subject)
    with progress(f"finding the loops of {subject.name}"):
        return fxsolve.partition(program).system


def _compiled(subject: Subject, options: argparse.Namespace) -> Any:
    """The compiled program after two calls: the first one compiles, the second one runs what was emitted."""
    with progress(f"compiling {subject.name}"):
        given = {
            "schedule": options.schedule,
            "backend": options.backend,
            "mode": "max-autotune",
            "on_left_alone": "ignore",
        }
        fast = fxsolve.compile(subject.model, None, **given)
        for _ in range(2):
            args, kwargs = subject.inputs()
            fast(*args, **kwargs)
    if options.schedule != "auto" and fast.report().status == "left alone":
        _refuse_bad_schedule(subject, options.schedule)
    return fast


def _refuse_bad_schedule(subject: Subject, text: str) -> None:
    """A program may be left alone for many reasons, but not for a slip in what was typed."""
    if text == "original" or text.endswith(".json"):
        return
    try:
        system = _system(subject)
    except (CaptureError, PartitionError):
        return
    parse_schedule(text, system)
