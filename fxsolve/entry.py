"""One compiled version of a program: from a recorded run to a checked module, or the reason to leave it alone."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxsolve.codegen.emit import Emitted
from fxsolve.errors import CaptureError, FxSolveError, ScheduleError
from fxsolve.partitioner.partition import Partition
from fxsolve.report.difference import compare, within
from fxsolve.report.loops import loop_reports
from fxsolve.report.report import Report
from fxsolve.scheduler.decision import Decision
from fxsolve.scheduler.text import to_text
from fxsolve.stages import Clock, emit, partition, schedule
from fxsolve.tracer.capture import capture
from fxsolve.tracer.output import rebuild
from fxsolve.tracer.program import Draw, Output, Program, attribute_of
from fxsolve.tracer.state import read_random_state

_TIMED_RUNS = 5
_CHEAP_SECONDS = 0.05  # a program faster than this is timed several times, a slower one once
_CLEAR_GAIN = 3.0  # an expected gain of this factor needs no run of the original to confirm it


@dataclass(frozen=True)
class Options:
    """What the user of `compile` may set."""

    schedule: str = "auto"
    backend: str = "inductor"
    tolerance: float | None = None


@dataclass(frozen=True)
class Ready:
    """A checked module and what a call of it needs; `watched` are tensors whose values a proof rested on."""

    emitted: Emitted
    draws: tuple[Draw, ...]
    output: Output
    watched: tuple[tuple[Tensor, int], ...]

    def run(self, tensors: tuple[Tensor, ...]) -> Any:
        """The program's return value for new inputs, with fresh draws."""
        with torch.no_grad():
            noise = self.emitted.noise_inputs(tuple(draw.sample() for draw in self.draws))
            return rebuild(self.output, self.emitted.module(*tensors, *noise))

    def is_stale(self) -> bool:
        """Whether a watched tensor was written to since."""
        return any(tensor._version != version for tensor, version in self.watched)


@dataclass(frozen=True)
class Entry:
    """The module of one signature, or None where the original runs; the decision and system behind it."""

    report: Report
    ready: Ready | None = None
    decision: Decision | None = None


class _LeftAloneError(Exception):
    """The original is to run; the message is the reason."""


def build(
    program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
) -> tuple[Entry, Any]:
    """Run the program once, and compile it for calls like this one. Returns the entry and the program's result.

    Whatever keeps the program from being compiled is told in the report, and the original keeps running.
    """
    clock = Clock()
    name = getattr(program, "__name__", None) or type(program).__name__
    report = Report(program=name, status="left alone")
    try:
        captured: Program = clock.time("capture", capture, program, args, kwargs)
    except CaptureError as error:
        return Entry(replace(report, reason=str(error), seconds=_seconds(clock))), program(*args, **kwargs)
    report = replace(report, calls=_count_calls(captured), draws=len(captured.draws), guards=len(captured.guards))
    result = rebuild(captured.output, captured.example.outputs)
    compilation = _Compilation(program, args, kwargs, captured, options, clock, report)
    entry = compilation.entry()
    return replace(entry, report=replace(entry.report, seconds=_seconds(clock))), result


@dataclass
class _Compilation:
    """The stages after recording, with what they share."""

    program: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    captured: Program
    options: Options
    clock: Clock
    report: Report

    def entry(self) -> Entry:
        randomness = read_random_state()
        try:
            return self._entry()
        except _LeftAloneError as reason:
            return Entry(replace(self.report, status="left alone", reason=str(reason), schedule="original"))
        except ScheduleError:
            raise  # the user's own schedule does not fit the program
        except FxSolveError as error:
            return Entry(replace(self.report, status="left alone", reason=str(error), schedule="original"))
        finally:
            randomness.restore()

    def _entry(self) -> Entry:
        if self.captured.grad:
            raise _LeftAloneError(
                "the result wants gradients, which only the original gives; call it under torch.no_grad()"
            )
        parts = self._partition()
        decision: Decision = self.clock.time("schedule", schedule, self.captured, parts, *self._settings())
        emitted: Emitted = self.clock.time("emit", emit, self.captured, parts, decision, self.options.tolerance)
        loops = loop_reports(parts.system, decision)
        notes = (*parts.notes, *decision.notes)
        text = to_text(decision.schedule)
        self.report = replace(self.report, status="emitted", schedule=text, loops=loops, notes=notes)
        self._check(emitted)
        self._race(emitted, decision)
        ready = Ready(emitted, self.captured.draws, self.captured.output, _watched(self.captured, decision))
        return Entry(self.report, ready, decision)

    def _settings(self) -> tuple[str, str, float | None]:
        return self.options.schedule, self.options.backend, self.options.tolerance

    def _partition(self) -> Partition:
        parts: Partition = self.clock.time("partition", partition, self.captured)
        self.report = replace(self.report, notes=parts.notes)
        if not parts.system.repeats:
            raise _LeftAloneError("no loop was found" if not parts.notes else parts.notes[0])
        return parts

    def _check(self, emitted: Emitted) -> None:
        """The emitted module must reproduce the recorded run."""
        outputs, seconds = self._run(emitted)
        self.clock.seconds["check"] = seconds
        check = compare(outputs, self.captured.example.outputs, self._tolerance())
        self.report = replace(self.report, check=check)
        if not within(check):
            raise _LeftAloneError(
                f"the emitted module differs from the recorded run by {check.max_difference:.3g}, "
                f"more than {check.tolerance:.3g}"
            )

    def _tolerance(self) -> float:
        """What an emitted module may differ by: rounding, relative to the largest output."""
        floating = [t for t in self.captured.example.outputs if t.is_floating_point() or t.is_complex()]
        scale = max((float(t.abs().nan_to_num(0.0, 0.0, 0.0).max()) for t in floating if t.numel()), default=0.0)
        eps = max((torch.finfo(t.dtype).eps for t in floating), default=0.0)
        return 100 * eps * max(1.0, scale)

    def _race(self, emitted: Emitted, decision: Decision) -> None:
        """Time the module against the original; the faster one stays, unless the user named a schedule."""
        _, first = self._run(emitted)
        expected = max(decision.sequential_seconds or 0.0, first)
        if expected > _CHEAP_SECONDS and expected > _CLEAR_GAIN * first:
            self.report = replace(self.report, emitted_seconds=first)
            return
        runs = _TIMED_RUNS if expected < _CHEAP_SECONDS else 1
        pairs = [(self._original_seconds(), self._run(emitted)[1]) for _ in range(runs)]
        original, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        self.report = replace(self.report, original_seconds=original, emitted_seconds=ours)
        if ours > original and self.options.schedule == "auto":
            raise _LeftAloneError(
                f"sequential is best here: the emitted module takes {ours / original:.2f} times as long"
            )

    def _original_seconds(self) -> float:
        start = time.perf_counter()
        self.program(*self.args, **self.kwargs)
        return time.perf_counter() - start

    def _run(self, emitted: Emitted) -> tuple[tuple[Tensor, ...], float]:
        with torch.no_grad():
            start = time.perf_counter()
            noise = emitted.noise_inputs(self.captured.example.noise)
            outputs = emitted.module(*self.captured.example.inputs, *noise)
            return outputs, time.perf_counter() - start


def _watched(program: Program, decision: Decision) -> tuple[tuple[Tensor, int], ...]:
    """Buffers and constants whose zeros a proof of causality rested on."""
    if not any(choice.causal == "proved" for choice in decision.choices):
        return ()
    nodes = program.module.graph.find_nodes(op="get_attr")
    tensors = [attribute_of(program, str(n.target)) for n in nodes if program.roles[n.name] != "param"]
    return tuple((tensor, tensor._version) for tensor in tensors if not tensor.is_inference())


def _count_calls(program: Program) -> int:
    return sum(node.op == "call_function" for node in program.module.graph.nodes)


def _seconds(clock: Clock) -> tuple[tuple[str, float], ...]:
    return tuple(clock.seconds.items())
