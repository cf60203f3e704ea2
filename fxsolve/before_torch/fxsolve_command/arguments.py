"""What can be typed after `fxsolve`."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import shtab

STAGES = ("program", "system", "pattern", "schedule", "code", "report")
BACKENDS = ("inductor", "eager")  # as fxsolve.stages has them; a test compares
PICTURES = (".svg", ".html", ".dot", ".txt", ".png", ".pdf")  # as fxsolve.view.drawing
PLOTS = (".png", ".svg", ".pdf")
DETAILS = ("loops", "equations", "ops")  # as fxsolve.view.detail
TARGET = "a function that returns (model, example inputs): FILE.py:NAME or package.module:NAME"


class UsageError(Exception):
    """What was typed is no command."""


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command and its options. Raises `UsageError`; exits after --help and --version."""
    return _parser().parse_args(argv)


def completion(shell: str) -> str:
    """A script that has a shell complete what is typed after `fxsolve`."""
    return shtab.complete(_parser(), shell)


def _parser() -> argparse.ArgumentParser:
    parser = _ArgumentParser(
        "fxsolve", description="Solve the loops of a PyTorch program in parallel, with the same values."
    )
    parser.add_argument("--version", action="version", version=f"fxsolve {version('fxsolve')}")
    commands = parser.add_subparsers(
        required=True, dest="command", metavar="report | graph | run | bench | doctor | completion | help"
    )
    _add_report(commands)
    _add_graph(commands)
    _add_run(commands)
    _add_bench(commands)
    _add_command(commands, "doctor", "what this installation can do")
    shells = _add_command(commands, "completion", "print a script that has a shell complete commands and options")
    shells.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    about = _add_command(commands, "help", "print a document")
    about.add_argument("topic", nargs="?", help="such as schedules; without it, the list of all")
    return parser


def _add_report(commands: Any) -> None:
    report = _add_target(commands, "report", "what was found, chosen and rejected, the cost, the exactness")
    form = report.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the report as JSON")
    form.add_argument("--html", metavar="OUT", type=_writable, help="write the report as an HTML page")
    form.add_argument("--emit", choices=STAGES, help="print one stage instead")


def _add_graph(commands: Any) -> None:
    graph = _add_target(commands, "graph", "draw the equations, with what runs")
    out = graph.add_mutually_exclusive_group(required=True)
    out.add_argument("-o", dest="out", metavar="OUT", type=_picture, help=", ".join(PICTURES))
    forms = [ending.removeprefix(".") for ending in PICTURES]
    out.add_argument("--format", choices=forms, help="write a file named like the program, in the current folder")
    graph.add_argument("--detail", choices=DETAILS, default="equations", help="how much it tells (default: equations)")
    graph.add_argument(
        "--before", action="store_true", help="beside it, to the left, the same in order: .svg and .html"
    )


def _add_run(commands: Any) -> None:
    run = _add_target(commands, "run", "time the original and the compiled program, in turn")
    run.add_argument("--check", action="store_true", help="exit with status 1 if they differ by more than tolerated")
    run.add_argument("--tolerance", type=_tolerated, help="largest difference allowed (default: the compiler's)")
    run.add_argument("--repeat", type=_positive, default=7, metavar="N", help="timed calls of each (default: 7)")
    run.add_argument("--emit", choices=STAGES, help="print one stage instead")


def _add_bench(commands: Any) -> None:
    bench = _add_command(commands, "bench", "time the program as written, by torch.compile and in every schedule")
    _add_subject(bench)
    bench.add_argument("--repeat", type=_positive, default=7, metavar="N", help="timed calls of each (default: 7)")
    bench.add_argument("--threads", type=_positive, default=1, metavar="N", help="threads of a CPU (default: 1)")
    bench.add_argument(
        "--limit", type=_seconds, default=60.0, metavar="SECONDS", help="for torch.compile (default: 60)"
    )
    bench.add_argument("--plot", metavar="OUT", type=_plot, help="draw the times: .png, .svg or .pdf")
    bench.add_argument("--json", action="store_true", help="print what was measured as JSON")


def _add_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return command


def _add_target(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command = _add_command(commands, name, text)
    _add_subject(command)
    command.add_argument("--schedule", metavar="TEXT", default="auto", help="such as gs(jacobi(cell)) (default: auto)")
    return command


def _add_subject(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", metavar="TARGET", help=TARGET)
    command.add_argument(
        "--input",
        action="append",
        metavar="f32[16,128,8]",
        help="one for each argument, of normal noise (integers: 0 and 1), for a target that returns a model alone",
    )
    command.add_argument("--backend", choices=BACKENDS, default="inductor", help="default: inductor")
    command.add_argument("--grad", action="store_true", help="run with gradients enabled (default: under no_grad)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of calls, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds


def _tolerated(text: str) -> float:
    tolerance = float(text)
    if not tolerance >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or a positive number")
    return tolerance


def _writable(text: str) -> Path:
    """A path whose folders are made when it is written."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    if (file := next((one for one in path.parents if one.exists() and not one.is_dir()), None)) is not None:
        raise argparse.ArgumentTypeError(f"{file} is no folder")
    return path


def _picture(text: str) -> Path:
    return _ending(text, PICTURES)


def _plot(text: str) -> Path:
    return _ending(text, PLOTS)


def _ending(text: str, endings: Sequence[str]) -> Path:
    path = _writable(text)
    if path.suffix not in endings:
        raise argparse.ArgumentTypeError(f"{text} ends in none of {', '.join(endings)}")
    return path
