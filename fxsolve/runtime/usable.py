"""What users hand to `compile`, refused at once where it is no program, or no option."""

import functools
import inspect
from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from fxsolve.errors import InputError
from fxsolve.plan.schedule import Schedule
from fxsolve.runtime.cache import OriginalSchedule
from fxsolve.runtime.entries import Options
from fxsolve.runtime.plans import SavedPlan, read_plan

_OPTIONS = ("example_inputs", *(field.name for field in fields(Options)))
# Options of torch.compile, and what there is here instead.
_INSTEAD = {
    "dynamic": "dynamic_shapes=... declares sizes that change, and others are learned from two calls",
    "fullgraph": "what cannot be compiled runs as written, and report() says why",
    "options": "inductor's own are those of torch._inductor.config",
    "disable": "the program itself is what runs without fxsolve",
}
# Functions that do not run when they are called.
_LATER = (
    (
        inspect.iscoroutinefunction,
        "an async def, which runs when it is awaited; compile the plain function that it calls",
    ),
    (inspect.isasyncgenfunction, "an async generator; compile the plain function that computes one item"),
    (
        inspect.isgeneratorfunction,
        "a generator, which runs when it is iterated; return a list, or a stack, of its items",
    ),
)


def check_program(program: Any) -> None:
    """Raise `InputError` for what cannot be called, or gives no result when it is called."""
    if not callable(program):
        raise InputError(f"the program is a {type(program).__name__}; it must be a module or a function")
    if isinstance(program, torch.jit.ScriptModule):
        raise InputError("the program is a ScriptModule, whose attributes are not seen; compile the module behind it")
    called = _called(program)
    if isinstance(called, type):
        name = called.__name__
        raise InputError(f"the program is the class {name}; compile an instance, fxsolve.compile({name}(...))")
    if called is nn.Module.forward:
        name = type(getattr(_whole(program), "__self__", _whole(program))).__name__
        raise InputError(f"{name} has no forward; compile the module, or function, that calls its parts")
    for is_kind, what in _LATER:
        if is_kind(called):
            raise InputError(f"the program is {what}")


def _called(program: Any) -> Any:
    """The function, or class, behind methods, partials, and objects that can be called."""
    program = _whole(program)
    if isinstance(program, nn.Module) and type(program).__call__ is nn.Module.__call__:
        program = program.forward
    elif not isinstance(program, type) and not inspect.isroutine(program):
        program = type(program).__call__
    return getattr(program, "__func__", program)


def _whole(program: Any) -> Any:
    """What partials are parts of."""
    while isinstance(program, functools.partial):
        program = program.func
    return program


def check_inputs(example_inputs: Any) -> None:
    """Raise `InputError` for inputs that are no tuple of arguments."""
    if not isinstance(example_inputs, tuple | list | None):
        raise InputError(f"example_inputs is a {type(example_inputs).__name__}; it must be a tuple of arguments")


def check_names(names: Iterable[str]) -> None:
    """Raise `InputError` for options that there are not."""
    for name in names:
        close = get_close_matches(name, _OPTIONS, 1, 0.5)
        meant = _INSTEAD.get(name) or (f"did you mean {close[0]!r}?" if close else "")
        raise InputError(f"there is no option {name!r}{meant and ': '}{meant}; options are {', '.join(_OPTIONS)}")


def read_schedule(schedule: Any) -> str | SavedPlan:
    """What the user hands over as a schedule: text, the plan in a .json file, or what `schedule` of another one is.

    Raises `InputError` for a file that holds no plan, and for anything else.
    """
    if isinstance(schedule, (*get_args(Schedule), OriginalSchedule)):
        return str(schedule)
    if isinstance(schedule, Path) or (isinstance(schedule, str) and schedule.strip().endswith(".json")):
        return read_plan(Path(schedule))
    if not isinstance(schedule, str | SavedPlan):
        kind = type(schedule).__name__
        raise InputError(
            f"schedule is a {kind}; it must be text, such as 'auto' or 'gs(loop0)', a .json file, or a schedule"
        )
    return schedule
