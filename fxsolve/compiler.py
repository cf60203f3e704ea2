"""`compile`: the straight line over the stages, at the first call and for each new kind of call."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from torch import fx

from fxsolve.entry import Entry, Options, build
from fxsolve.errors import GuardError
from fxsolve.report.report import Report, Run
from fxsolve.scheduler.schedule import Schedule
from fxsolve.signature import Call, describe_call, read_call
from fxsolve.solvers.solution import Solution, observe
from fxsolve.stages import as_stop, check_backend
from fxsolve.tracer.reach import find_reach
from fxsolve.tracer.state import read_random_state


class Compiled:
    """A program with the same values, run by emitted modules where that is faster.

    The first call of each kind (shapes, dtypes, devices, grad mode, train flags, values of plain arguments) records
    and compiles; it returns the original's own result. Attributes of the program are reached through this object.
    """

    def __init__(self, program: Callable[..., Any], options: Options) -> None:
        self._program = program
        self._options = options
        self._entries: dict[Hashable, Entry] = {}
        self._latest: Entry | None = None
        self._runs: tuple[Run, ...] = ()
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = read_call(args, kwargs, find_reach(self._program))
        entry = self._entries.get(call.key)
        if entry is None or (entry.ready is not None and entry.ready.is_stale()):
            return self._build(call, args, kwargs)
        self._latest = entry
        if entry.ready is None:
            return self._program(*args, **kwargs)
        return self._run(entry, call, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        # Only for names that this class lacks: the program's own parameters, methods and settings.
        return getattr(self.__dict__["_program"], name)

    def report(self) -> Report:
        """What was found, chosen and measured for the latest call."""
        if self._latest is None:
            return Report(
                getattr(self._program, "__name__", type(self._program).__name__), "left alone", "not called yet"
            )
        return replace(self._latest.report, runs=self._runs)

    @property
    def schedule(self) -> "Schedule | _Original":
        """The schedule of the latest call; its text is "original" where the original runs."""
        entry = self._latest
        if entry is None or entry.ready is None or entry.decision is None:
            return ORIGINAL
        return entry.decision.schedule

    @property
    def graph_module(self) -> fx.GraphModule | None:
        """The emitted module of the latest call, or None where the original runs."""
        ready = self._latest.ready if self._latest else None
        return ready.emitted.module if ready else None

    @property
    def code(self) -> str:
        """The emitted Python code; a comment where the original runs."""
        module = self.graph_module
        return module.code if module is not None else f"# left alone: {self.report().reason}\n"

    def _build(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._lock:
            entry, result = build(self._program, args, kwargs, self._options)
            entry = replace(entry, report=replace(entry.report, signature=describe_call(call)))
            self._entries[call.key] = self._latest = entry
            self._runs = ()
            return result

    def _run(self, entry: Entry, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert entry.ready is not None
        randomness = read_random_state()
        try:
            with observe() as solutions:
                result = entry.ready.run(call.tensors)
        except GuardError as error:
            randomness.restore()
            self._note(call, entry, f"the original ran once: {error}")
            return self._program(*args, **kwargs)
        self._runs = tuple(map(_run_of, solutions))
        return result

    def _note(self, call: Call, entry: Entry, note: str) -> None:
        notes = tuple(dict.fromkeys((*entry.report.notes, note)))
        self._latest = replace(entry, report=replace(entry.report, notes=notes))
        self._entries[call.key] = self._latest


class _Original:
    """The schedule of a program that is left alone."""

    def __str__(self) -> str:
        return "original"


ORIGINAL = _Original()


def _run_of(solution: Solution) -> Run:
    return Run(
        solution.name,
        solution.method,
        solution.sweeps,
        solution.length,
        solution.status,
        solution.change,
        solution.prefix,
    )


def compile(
    program: Callable[..., Any],
    example_inputs: tuple[Any, ...] | None = None,
    schedule: str = "auto",
    backend: str = "inductor",
    tolerance: float | None = None,
) -> Compiled:
    """The same program, with its sequential loops solved by the schedule that is fastest here.

    `program` is a module or function and stays as it is. It is recorded at the first call, or at once on
    `example_inputs`. `schedule` is "auto", a schedule in text form, "gs" or "jacobi". `backend="eager"` never compiles
    steps with inductor. `tolerance` is the stop test of Jacobi sweeps, absolute and relative: None for the default of
    each dtype, 0 for the bitwise fixed point of the batched map.

    Raises `InputError` for unusable options, at once.
    """
    check_backend(backend)
    as_stop(tolerance)
    compiled = Compiled(program, Options(schedule, backend, tolerance))
    if example_inputs is not None:
        compiled(*example_inputs)
    return compiled


def explain(program: Callable[..., Any], *args: Any, **kwargs: Any) -> Report:
    """What `compile` would find and choose for this call."""
    compiled = compile(program)
    compiled(*args, **kwargs)
    return compiled.report()
