"""The command line: fxsolve report | graph | run FILE.py:factory."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

import fxsolve
from fxsolve.capture.program import Program
from fxsolve.errors import CaptureError, FxSolveError, InputError, PartitionError
from fxsolve.factory import Subject, load, users_errors
from fxsolve.ir.spec import System
from fxsolve.ir.text import pattern_text, system_text
from fxsolve.plan.text import parse_schedule
from fxsolve.report.difference import within
from fxsolve.report.html import to_html
from fxsolve.report.progress import progress
from fxsolve.report.race import race, race_text
from fxsolve.report.report import Report
from fxsolve.report.text import print_report
from fxsolve.report.to_json import to_json
from fxsolve.stages import BACKENDS
from fxsolve.view.dot import draw_dot
from fxsolve.view.svg import draw_system

STAGES = ("program", "system", "pattern", "schedule", "code", "report")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it worked, 1 if --check found a difference, 2 if something given cannot be used."""
    try:
        options = _parser().parse_args(argv)
        with progress(f"calling {options.target}"):
            subject = load(options.target)
        with torch.set_grad_enabled(options.grad), users_errors(subject):
            return options.command(subject, options)
    except FxSolveError as error:
        print(f"fxsolve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader of a pipe left (| head): python would complain again when it flushes standard output at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"fxsolve: {error}", file=sys.stderr)
        return 2


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}\n{self.format_usage().rstrip()}")


def _parser() -> argparse.ArgumentParser:
    parser = _ArgumentParser(
        "fxsolve", description="Solve the loops of a PyTorch program in parallel, with the same values."
    )
    commands = parser.add_subparsers(required=True, metavar="report | graph | run")
    report = _command(commands, "report", _report, "what was found, chosen and rejected, the cost, the exactness")
    form = report.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the report as JSON")
    form.add_argument("--html", metavar="OUT", type=_writable, help="write the report as an HTML page")
    form.add_argument("--emit", choices=STAGES, help="print one stage instead")
    graph = _command(commands, "graph", _graph, "draw the rolled system")
    graph.add_argument("-o", dest="out", metavar="OUT", type=_picture, required=True, help="OUT.svg or OUT.dot")
    run = _command(commands, "run", _run, "time the original and the compiled program, in turn")
    run.add_argument("--check", action="store_true", help="exit with status 1 if they differ by more than tolerated")
    run.add_argument("--tolerance", type=_tolerated, help="largest difference allowed (default: the compiler's)")
    run.add_argument("--repeat", type=_positive, default=7, metavar="N", help="timed calls of each (default: 7)")
    run.add_argument("--emit", choices=STAGES, help="print one stage instead")
    return parser


def _command(commands: Any, name: str, action: Callable[..., int], text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("target", metavar="FILE.py:factory", help="a function that returns (model, example inputs)")
    command.add_argument("--schedule", metavar="TEXT", default="auto", help="such as gs(jacobi(cell)) (default: auto)")
    command.add_argument("--backend", choices=BACKENDS, default="inductor", help="default: inductor")
    command.add_argument("--grad", action="store_true", help="run with gradients enabled (default: under no_grad)")
    command.set_defaults(command=action)
    return command


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of calls, 1 or more")
    return int(text)


def _tolerated(text: str) -> float:
    tolerance = float(text)
    if not tolerance >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or a positive number")
    return tolerance


def _writable(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent}: no such folder")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    return path


def _picture(text: str) -> Path:
    path = _writable(text)
    if path.suffix not in (".svg", ".dot"):
        raise argparse.ArgumentTypeError(f"{text} ends neither in .svg nor in .dot")
    return path


def _report(subject: Subject, options: argparse.Namespace) -> int:
    if options.emit:
        return _emit(subject, options)
    report = _compiled(subject, options).report()
    if options.html:
        options.html.write_text(to_html(report), encoding="utf-8")
    elif options.json:
        print(to_json(report))
    else:
        print_report(report, sys.stdout)
    return 0


def _graph(subject: Subject, options: argparse.Namespace) -> int:
    system = _system(subject)
    schedule = None if options.schedule == "auto" else str(parse_schedule(options.schedule, system))
    picture = draw_system(system, schedule) if options.out.suffix == ".svg" else draw_dot(system, schedule).source
    options.out.write_text(picture, encoding="utf-8")
    return 0


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


def _tolerance(given: float | None, report: Report) -> float:
    if given is not None:
        return given
    return report.check.tolerance if report.check else 0.0


def _emit(subject: Subject, options: argparse.Namespace) -> int:
    print(_stage_text(subject, options).rstrip("\n"))
    return 0


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
        fast = fxsolve.compile(subject.model, schedule=options.schedule, backend=options.backend, mode="max-autotune")
        for _ in range(2):
            args, kwargs = subject.inputs()
            fast(*args, **kwargs)
    if options.schedule != "auto" and fast.report().status == "left alone":
        _refuse_bad_schedule(subject, options.schedule)
    return fast


def _refuse_bad_schedule(subject: Subject, text: str) -> None:
    """A program may be left alone for many reasons, but not for a slip in what was typed."""
    try:
        system = _system(subject)
    except (CaptureError, PartitionError):
        return
    parse_schedule(text, system)
