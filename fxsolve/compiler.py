"""`compile` and `explain`."""

from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final, Never, Protocol, TypedDict, TypeVar, Unpack, overload

from torch import nn

from fxsolve.plan.schedule import Schedule
from fxsolve.report.report import Report
from fxsolve.runtime.cache import OriginalSchedule
from fxsolve.runtime.compiled import Compiled, CompiledFunction, CompiledModule, P, R, compile_again, recompile
from fxsolve.runtime.declaration import read_shapes
from fxsolve.runtime.entries import Options
from fxsolve.runtime.usable import check_inputs, check_names, check_program, read_schedule
from fxsolve.stages import BACKENDS, MODES, ON_LEFT_ALONE, as_stop, check_choice, check_max_entries, check_verify

M = TypeVar("M", bound=nn.Module)


class _Later(Enum):
    """A program that is not there yet: `None` would be one that the user believes to have."""

    LATER = 0


LATER: Final = _Later.LATER


class Settings(TypedDict, total=False):
    """The options of `compile`, for type checkers."""

    schedule: str | Path | Schedule | OriginalSchedule
    backend: str
    tolerance: float | None
    verify: str | int
    max_entries: int
    dynamic_shapes: Any
    mode: str
    on_left_alone: str


class Decorator(Protocol):
    """What `compile` is without a program: it compiles the one that it is called with."""

    @overload
    def __call__(self, program: M) -> CompiledModule[M]: ...
    @overload
    def __call__(self, program: Callable[P, R]) -> CompiledFunction[P, R]: ...


@overload
def compile(
    program: M, example_inputs: tuple[Any, ...] | None = None, **options: Unpack[Settings]
) -> CompiledModule[M]: ...
@overload
def compile(
    program: Callable[P, R], example_inputs: tuple[Any, ...] | None = None, **options: Unpack[Settings]
) -> CompiledFunction[P, R]: ...
@overload
def compile(*, example_inputs: tuple[Any, ...] | None = None, **options: Unpack[Settings]) -> Decorator: ...
def compile(
    program: Any = LATER,
    example_inputs: tuple[Any, ...] | None = None,
    schedule: str | Path | Schedule | OriginalSchedule = "auto",
    backend: str = "inductor",
    tolerance: float | None = None,
    verify: str | int = "first",
    max_entries: int = 16,
    dynamic_shapes: Any = None,
    mode: str = "default",
    on_left_alone: str = "warn",
    **unknown: Never,
) -> Any:
    """The same program, with its sequential loops solved by the schedule that is fastest here.

    `program` is a module or function and stays as it is; of a module the result is a module too, with the same
    parameters, state_dict and settings. It is recorded at the first call, or at once on `example_inputs`, and again for
    every new kind of call; see `Compiled`. As a decorator, `@fxsolve.compile` or `@fxsolve.compile(backend="eager")`,
    it compiles a function or method.

    `schedule` is "auto", a schedule in text form, or the name of a method for every loop that it fits: "gs", "jacobi",
    "newton", "picard", "scan" or "levels"; "original" runs the program as written. The path of a report that
    `save("plan.json")` of a compiled program has written pins what was decided there, and nothing is measured again;
    calls that it does not decide about raise `PlanError`. What the attribute `schedule` of a compiled program holds may
    be handed over too. `backend="eager"` never compiles steps with inductor. `tolerance` is the stop test of sweeps and
    Newton steps, absolute and relative: None for the default of each dtype, 0 for the bitwise fixed point of the
    batched map. `max_entries` signatures are kept; the least recently used goes first.

    What is decided here is kept on this machine, in the folder that `FXSOLVE_CACHE` names, and is not measured again by
    the next process; `FXSOLVE_CACHE=off` keeps nothing.

    In grad mode the program's own backward pass is recorded behind its forward pass, and `loss.backward()` calls what
    was emitted for it.

    `mode` says when an automatic choice may take seconds to compile steps by inductor: "default" once the calls of a
    kind have lost, against what compiled steps are predicted to take, as much time as compiling is predicted to take,
    so that what is called a few times never waits; "max-autotune" and "reduce-overhead" at the first call, where it is
    won back within 500 calls. A schedule that the user names is compiled at the first call, whatever the mode.

    `verify="first"` compares every emitted module with the recorded run before its first use. "always" compares every
    call with a run of the original from the same random state, and N every N-th call: where they differ by more than
    rounding, the original's result is returned and the original runs from then on. This catches what recording cannot
    see: globals that a module's methods read, items of long lists, Python's random numbers, the clock, files.
    Python effects of the program, such as prints, happen when it is recorded, timed or verified, and not otherwise.
    What it writes into its arguments, parameters and buffers is written, and the attributes that it sets are set, at
    every call, once, as the original does it; `example_inputs` count as a call.

    A program that communicates with other processes runs as it was written, once at each call; of a
    `DistributedDataParallel` the module inside is compiled, and the wrapper runs as it is. The processes of a group
    adopt what the first of them decides.

    A program that was recorded at two lengths, sizes of tensors or integers among its arguments, is not recorded at a
    third one: what is emitted there follows from the two, and is compared with one run of the program at the first call
    of each new length. `dynamic_shapes`, in the form of `torch.export.export`, tells beforehand which these are: a long
    first call is then recorded on the first entries of its arguments, at two short lengths, and not at its own.

    Each recording is a line of the logger `fxsolve` (level INFO, shown by `FXSOLVE_LOGS=info`). A program that is left
    alone after a first call of more than two seconds is a warning there, once; `on_left_alone="ignore"` leaves it out,
    and "error" raises `LeftAloneError` with the reason, at every such call, whatever its first call took.

    What is compiled already is compiled anew, with the options given there and here. Options of other names are
    collected in `unknown` for a message that says what to write instead.

    Raises `InputError` for what cannot be compiled and for unusable options, at once, and `ScheduleError` at the call
    whose program `schedule` does not fit; second derivatives of a program that draws random numbers or keeps state
    raise `GradientError`. What the program raises is raised as it is.
    """
    check_names(unknown)
    check_inputs(example_inputs)
    shapes = read_shapes(dynamic_shapes)
    asked = read_schedule(schedule)
    options = check_options(Options(asked, backend, tolerance, verify, max_entries, shapes, mode, on_left_alone))
    if program is LATER:
        return partial(_compile, example_inputs=example_inputs, options=options)
    return _compile(program, example_inputs, options)


def _compile(program: Any, example_inputs: tuple[Any, ...] | None, options: Options) -> Compiled:
    check_program(program.program if isinstance(program, Compiled) else program)
    compiled = compile_again(program, options) if isinstance(program, Compiled) else recompile(program, options)
    if example_inputs is not None:
        compiled(*example_inputs)
    return compiled


def check_options(options: Options) -> Options:
    """`options` as they are; `InputError` for one that cannot be used."""
    check_choice("backend", options.backend, BACKENDS)
    as_stop(options.tolerance)
    check_verify(options.verify)
    check_max_entries(options.max_entries)
    check_choice("mode", options.mode, MODES)
    check_choice("on_left_alone", options.on_left_alone, ON_LEFT_ALONE)
    return options


def explain(program: Callable[..., Any], *args: Any, **kwargs: Any) -> Report:
    """What `compile` would find and choose for this call.

    Every loop is named: in `loops` with its schedule, or in `notes` with the first argument that kept it from being
    rolled and its source line.
    """
    compiled = _compile(program, None, Options())
    compiled(*args, **kwargs)
    return compiled.report()
