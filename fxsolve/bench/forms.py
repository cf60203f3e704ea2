"""The forms of a program: as written, as torch.compile makes it, and in each schedule that fits."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

import fxsolve.compiler as compiler
from fxsolve.bench.data import ORIGINAL, LeftOut
from fxsolve.bench.peers import TookTooLong, by_torch, within_seconds
from fxsolve.bench.steps import StepWithGradients
from fxsolve.errors import FxSolveError
from fxsolve.factory import Subject
from fxsolve.plan.methods import METHODS
from fxsolve.report.data import LoopReport, ReportData
from fxsolve.report.progress import progress
from fxsolve.report.report import Report
from fxsolve.report.units import time_text

TORCH = "torch.compile"
AUTO = "auto"
NAMES = (AUTO, "gs", *(method.name for method in METHODS if method.by_name))


@dataclass(frozen=True)
class TimedForm:
    """A form that was called already, which took `first_seconds`; `report` is there where fxsolve made it."""

    name: str
    program: Callable[..., Any]
    first_seconds: float = 0.0
    report: Report | None = None

    @property
    def schedule(self) -> str:
        return self.report.schedule if self.report else ""


def forms_of(subject: Subject, backend: str, limit: float) -> Iterator[TimedForm | LeftOut]:
    """Every form of the program, or why it takes no part; `limit` is what torch.compile may take, in seconds."""
    yield TimedForm(ORIGINAL, call_of(subject.model, subject))
    seen: dict[str, str] = {}
    asked = {name: name for name in NAMES}
    while asked:
        name = next(iter(asked))
        made = _first(name, _solved(name, asked.pop(name), subject, backend), seen)
        if isinstance(made, TimedForm) and name == AUTO and made.report:
            asked |= weighed(made.report)
        yield made
    yield _by_torch(subject, limit)


def _first(name: str, made: TimedForm | LeftOut, seen: dict[str, str]) -> TimedForm | LeftOut:
    """A form that no other name made before."""
    if isinstance(made, LeftOut):
        return made
    if not is_named_in(name, made.schedule):
        return LeftOut(name, "it fits no loop of this program")
    same = seen.setdefault(made.schedule, name)
    return made if same == name else LeftOut(name, f"the same as {same}")


def call_of(program: Callable[..., Any], subject: Subject) -> Callable[..., Any]:
    """A call of the program, in grad mode with its backward pass."""
    if not torch.is_grad_enabled():
        return program
    return StepWithGradients(program, tuple(one for one in subject.state() if one.requires_grad))


def call(program: Callable[..., Any], subject: Subject) -> None:
    """One call that counts for nothing: what it writes into the model is written back."""
    before = [tensor.detach().clone() for tensor in subject.state()]
    args, kwargs = subject.inputs()
    program(*args, **kwargs)
    for tensor, value in zip(subject.state(), before, strict=True):
        tensor.data.copy_(value)


def _solved(name: str, schedule: str, subject: Subject, backend: str) -> TimedForm | LeftOut:
    start = time.perf_counter()
    with progress(f"compiling {subject.name} for {name}"):
        try:
            fast: Any = compiler.compile(
                subject.model, schedule=schedule, backend=backend, mode="max-autotune", on_left_alone="ignore"
            )
            program = call_of(fast, subject)
            for _ in range(2):
                call(program, subject)
        except FxSolveError as error:
            return LeftOut(name, str(error).partition("\n")[0])
    report = fast.report()
    if report.status == "left alone":
        return LeftOut(name, report.reason)
    return TimedForm(name, program, time.perf_counter() - start, report)


def _by_torch(subject: Subject, limit: float) -> TimedForm | LeftOut:
    with progress(f"compiling {subject.name} with {TORCH}"):
        try:
            model = by_torch(subject.model)
            start = time.perf_counter()
            with within_seconds(limit):
                program = call_of(model, subject)
                for _ in range(2):
                    call(program, subject)
        except TookTooLong:
            return LeftOut(TORCH, f"it had not finished after {time_text(limit)}")
        except Exception as error:
            return LeftOut(TORCH, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return TimedForm(TORCH, program, time.perf_counter() - start)


def is_named_in(name: str, schedule: str) -> bool:
    """Whether a method that was asked for by its name fits a loop at all, and is in the schedule."""
    return name in (AUTO, "gs") or not name.isidentifier() or f"{name}(" in schedule


def weighed(report: ReportData) -> dict[str, str]:
    """The chosen schedule with another one for its longest loop, by that other one, for each that was weighed."""
    loop = max(report.loops, key=lambda one: one.chosen.seconds or 0.0, default=None)
    return {} if loop is None else dict(_exchanged(report, loop))


def _exchanged(report: ReportData, loop: LoopReport) -> Iterator[tuple[str, str]]:
    chosen = loop.chosen.schedule
    if report.schedule.count(chosen) != 1:
        return  # it is in the steps of another one, or the program runs as written
    for other in loop.rejected:
        if other.seconds is not None and other.schedule != chosen:
            yield other.schedule, report.schedule.replace(chosen, other.schedule)
