"""The stages of the compiler as functions of values: each can be called alone."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx

from fxsolve.capture.capture import capture as capture_program
from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.codegen.emit import emit as emit_module
from fxsolve.codegen.equations import Plan, module_of_system
from fxsolve.codegen.passes import EmittedPasses
from fxsolve.codegen.passes import emit_passes as emit_module_passes
from fxsolve.errors import InputError
from fxsolve.ir.spec import System
from fxsolve.loops.partition import Partition
from fxsolve.loops.partition import partition as partition_program
from fxsolve.loops.stopping.fold import fold_stops
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.plan.auto import decide, example_values
from fxsolve.plan.causality import reads_buffer
from fxsolve.plan.checks import checks_that_hold
from fxsolve.plan.decision import Decision
from fxsolve.plan.legal_blocks import legal_blocks
from fxsolve.plan.legalize import legalize_unproved
from fxsolve.plan.methods import METHODS, Methods
from fxsolve.plan.purse import Purse
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.ties import solve_ties
from fxsolve.plan.verify import verify_schedule
from fxsolve.solvers.stop import Stop

BACKENDS = ("inductor", "eager")
MODES = ("default", "reduce-overhead", "max-autotune")
ON_LEFT_ALONE = ("ignore", "warn", "error")


def capture(program: Callable[..., Any], *args: Any, **kwargs: Any) -> Program:
    """Run `program(*args, **kwargs)` once and return it as a functional ATen graph. Raises `CaptureError`."""
    return fold_stops(capture_program(program, args, kwargs))


def partition(program: Program) -> Partition:
    """Find the equations of a program: its loops rolled, everything else in blocks."""
    return partition_program(program)


def schedule(
    program: Program,
    partition: Partition,
    text: str = "auto",
    backend: str = "inductor",
    tolerance: float | None = None,
    methods: Methods = METHODS,
    purse: Purse | None = None,
    facts: Facts = FACTS,
) -> Decision:
    """Decide how each loop is solved: `text` is a schedule, or "auto" for the cheapest by measurement.

    `tolerance` is the stop test of sweeps and Newton steps, absolute and relative; None takes the default of each
    dtype, 0 asks for the bitwise fixed point of the batched map. With 0, sums keep their order unless the text names
    their loop, and an automatic choice has no compiled steps. `methods` are those that a text may name, and that an
    automatic choice weighs; `purse` says which steps it may compile, those within a `Budget` by default. `facts` are
    what proofs take for known of each op. Raises `InputError` and `ScheduleError`.
    """
    values = example_values(program) if text == "auto" else None
    constants = {**constants_of(program), **checks_that_hold(program, partition.system)}
    return schedule_system(partition.system, text, values, constants, backend, tolerance, methods, purse, facts)


def schedule_system(
    system: System,
    text: str = "auto",
    values: Mapping[str, Tensor] | None = None,
    constants: Mapping[str, Tensor] | None = None,
    backend: str = "inductor",
    tolerance: float | None = None,
    methods: Methods = METHODS,
    purse: Purse | None = None,
    facts: Facts = FACTS,
) -> Decision:
    """As `schedule`, for any system, one written by hand too.

    An automatic choice measures on `values`, one for each of the inputs of the system. `constants` are those that are
    the same in every run, by name: masks among them prove the order in which a buffer is read.
    """
    check_choice("backend", backend, BACKENDS)
    stop = as_stop(tolerance)
    known = known_values(system, constants or {}, facts) if any(map(reads_buffer, system.repeats)) else {}
    if text != "auto":
        asked, notes = legal_blocks(parse_schedule(text, system, stop, methods), system, stop)
        return _noted(solve_ties(system, legalize_unproved(system, asked, known, backend, facts)), notes)
    if values is None:
        raise InputError("an automatic choice measures on values; give one for each input of the system")
    allowed = "eager" if tolerance == 0 else backend
    return solve_ties(system, decide(system, values, known, allowed, stop, methods, purse, facts))


def _noted(decision: Decision, notes: tuple[str, ...]) -> Decision:
    return replace(decision, notes=(*notes, *decision.notes))


def emit(program: Program, partition: Partition, decision: Decision, tolerance: float | None = None) -> Emitted:
    """The executable module of a decision."""
    return emit_module(program, partition.system, _plan(decision, tolerance))


def emit_system(system: System, decision: Decision, tolerance: float | None = None) -> fx.GraphModule:
    """The module of a system that no program was recorded for: its inputs, in their order, -> its outputs."""
    verify_schedule(decision.schedule, system)
    return module_of_system(system, _plan(decision, tolerance))


def emit_passes(
    program: Program, partition: Partition, decision: Decision, tolerance: float | None = None
) -> EmittedPasses:
    """The executable modules of a decision about a program with a recorded backward pass."""
    return emit_module_passes(program, partition.system, _plan(decision, tolerance))


def _plan(decision: Decision, tolerance: float | None) -> Plan:
    return Plan(decision.schedule, as_stop(tolerance), decision.turned)


def as_stop(tolerance: float | None) -> Stop | None:
    """The stop test that a user's tolerance means."""
    if tolerance is None:
        return None
    if not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance!r}; it must be 0 or a positive number")
    return Stop(tolerance, tolerance)


def check_verify(verify: str | int) -> None:
    """Raise `InputError` for what `compile` cannot take as `verify`."""
    if verify not in ("first", "always") and (type(verify) is not int or verify < 1):
        raise InputError(f"verify is {verify!r}; choose 'first', 'always', or N for every N-th call")


def check_max_entries(count: int) -> None:
    """Raise `InputError` for a number of entries below 1."""
    if type(count) is not int or count < 1:
        raise InputError(f"max_entries is {count!r}; it must be 1 or more")


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `InputError` for the value of an option that is none of its choices."""
    if value not in choices:
        raise InputError(f"{option} is {value!r}; choose one of {', '.join(choices)}")


@dataclass
class Clock:
    """Seconds spent in each stage, in order, and the stage that was entered last."""

    seconds: dict[str, float] = field(default_factory=dict)
    stage: str = ""

    def time(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(*arguments)` returns; the time that it takes is the stage's."""
        self.stage = stage
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
