"""What `compile` returns: a module for a module, a callable for anything else; a `Runtime` answers their calls."""

import copy
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MethodType, new_class
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, final, overload

import torch
from torch import fx, nn

from fxsolve.codegen.code import code_of
from fxsolve.errors import InputError
from fxsolve.plan.schedule import Schedule
from fxsolve.report.report import Report
from fxsolve.runtime.around import AroundRuntime, is_around
from fxsolve.runtime.cache import ORIGINAL, EntryInfo, OriginalSchedule
from fxsolve.runtime.calls import Runtime
from fxsolve.runtime.delegation import delegate_methods
from fxsolve.runtime.entries import Options
from fxsolve.runtime.forward import Forward, HasForward
from fxsolve.runtime.opaque import run_between_graphs
from fxsolve.runtime.pictures import SHOWN
from fxsolve.torch_compat.dispatch import is_exporting
from fxsolve.view.drawing import Drawing

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
M_co = TypeVar("M_co", covariant=True)


class Compiled:
    """A program with the same values and gradients, run by emitted modules where that is faster.

    The first call of each kind returns the original's own result. It records the program and compiles the recording,
    unless recordings at two other lengths tell what is emitted at this one. Calls are of one kind if everything agrees
    that `guard_keys.Reader` and `state.watch` list: forms and plain values of the arguments, modes of torch, and of the
    program its flags, numbers, strings, hooks, and which parameters it has. Parameters, buffers, and attributes that
    the program was seen to set are read live: of the latter only the form counts. Where a value that the program reads
    from a tensor differs, up to 4 variants are recorded.

    Hooks on modules are recorded as part of the program. Tensors that a program or a hook writes into are written, and
    attributes that it sets are set, at every call; the original runs where that cannot be done. A copy, by
    `copy.deepcopy` or pickle, compiles anew at its first call. Threads may call one object at once. Inside of a
    recording, a dispatch mode, a transform of torch.func or torch.compile, in forward mode, in anomaly mode, and under
    hooks on saved tensors, the original runs.

    `draw()` gives a picture, and `save(path)` writes it, or the report, where the program has no such methods itself.
    """

    __slots__ = ("_runtime",)
    _runtime: Runtime | AroundRuntime

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # First of all: torch.compile and torch.export follow these lines, and must not follow the last one.
        if torch.compiler.is_compiling():
            if torch.compiler.is_dynamo_compiling() and not is_exporting():
                return run_between_graphs(self, args, kwargs)
            return self._runtime.program(*args, **kwargs)
        runtime = self._runtime
        # Here, not in a call of its own: of a small layer that would be a tenth.
        if runtime.patience.resting > 0:
            runtime.patience.resting -= 1
            return runtime.program(*args, **kwargs)
        return runtime.call(args, kwargs)

    def report(self) -> Report:
        """What was found, chosen and measured for the latest call; certificates are of the recorded inputs."""
        return self._runtime.report()

    @property
    def program(self) -> Callable[..., Any]:
        """The module or function that was compiled, as it is."""
        return self._runtime.program

    @property
    def entries(self) -> tuple[EntryInfo, ...]:
        """Every compiled version that is kept, the least recently used first."""
        return self._runtime.entries()

    @property
    def schedule(self) -> Schedule | OriginalSchedule:
        """The schedule of the latest call; its text is "original" where the original ran."""
        latest = self._runtime.latest
        return ORIGINAL if latest is None else latest.schedule

    @property
    def graph_module(self) -> fx.GraphModule | None:
        """The emitted module of the latest call, or None where the original ran."""
        latest = self._runtime.latest
        return latest.entry.ready.emitted.module if latest and latest.entry.ready else None

    @property
    def code(self) -> str:
        """The emitted Python code, with that of the loops; a comment where the original ran."""
        module = self.graph_module
        return code_of(module) if module is not None else f"# left alone: {self.report().reason}\n"

    def __getattr__(self, name: str) -> Any:
        # Only for names that are not found here: the program's own methods, parameters and settings.
        if name == "_runtime":
            raise AttributeError(name)
        program = self._runtime.program
        if name in SHOWN and not hasattr(program, name):
            return functools.partial(SHOWN[name], self._runtime)
        return getattr(program, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Compiled":
        return recompile(copy.deepcopy(self._runtime.program, memo), self._runtime.options)

    def __reduce__(self) -> Any:
        return recompile, (self._runtime.program, self._runtime.options)


@final
class CompiledFunction(Compiled, Generic[P, R]):
    """A compiled function, method, or callable object; it has the name, documentation and types of the program."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> "CompiledFunction[P, R]": ...

        @overload
        def __get__(
            self: "CompiledFunction[Concatenate[Any, Q], R]", instance: Any, owner: type | None = None
        ) -> Callable[Q, R]: ...

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        functools.update_wrapper(self, runtime.program, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        # A decorated method is bound as the function itself would be.
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {self._runtime.program!r}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        # A plain function is not copied either.
        return self if isinstance(self._runtime.program, FunctionType) else super().__deepcopy__(memo)

    def __reduce__(self) -> Any:
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        # What a decorator put in the place of its function is pickled by name, as the function would be.
        return name if found is self else super().__reduce__()


@final
@delegate_methods
class CompiledModule(Compiled, nn.Module, Generic[M_co]):
    """A compiled module, itself an nn.Module: the parameters, children, flags and hooks are those of the model.

    Its `__dict__` is the model's, its methods are the model's methods, and what is set on it is set on the model. To
    type checkers, which know no intersection of types, methods of the model's own are `Any`; `.program` has them typed.
    """

    if TYPE_CHECKING:

        @property
        def program(self) -> M_co: ...  # pyright: ignore[reportIncompatibleMethodOverride]

        def __call__(self: "CompiledModule[HasForward[P, R]]", *args: P.args, **kwargs: P.kwargs) -> R: ...

    def __init__(self, runtime: Runtime | AroundRuntime) -> None:
        # Not nn.Module.__init__, which would give this object parameters and flags of its own.
        object.__setattr__(self, "_runtime", runtime)
        object.__setattr__(self, "__dict__", vars(runtime.program))

    forward = Forward(Compiled.__call__, nn.Module.forward)  # pyright: ignore[reportAssignmentType]

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        # For those who read signatures from classes. The type is one for all: torch.compile guards it.
        return _class_for(type(self._runtime.program))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._runtime.program, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._runtime.program, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *dir(self._runtime.program), *SHOWN})

    def __repr__(self) -> str:
        return f"CompiledModule({self._runtime.program!r})"


def recompile(program: Callable[..., Any], options: Options) -> Compiled:
    """The compiled form of `program`, with nothing recorded yet."""
    if is_around(program):
        return CompiledModule(AroundRuntime(program, options, functools.partial(_inside, options)))
    if not isinstance(program, nn.Module):
        return CompiledFunction(Runtime(program, options))
    return CompiledModule(Runtime(program, options))


@functools.lru_cache(maxsize=256)
def _class_for(kind: type[nn.Module]) -> type[CompiledModule[Any]]:
    """A class with the name and the `forward` of another."""
    names = {"forward": Forward(Compiled.__call__, kind.forward), "__module__": kind.__module__}
    return new_class(f"Compiled{kind.__name__}", (CompiledModule,), exec_body=lambda space: space.update(names))


def _inside(options: Options, module: nn.Module) -> tuple[nn.Module, Runtime]:
    """The compiled form of a module inside of a wrapper, and what answers its calls."""
    runtime = Runtime(module.program if isinstance(module, Compiled) else module, options)
    return CompiledModule(runtime), runtime


def compile_again(compiled: Compiled, options: Options) -> Compiled:
    """The program of a compiled one, with what it was asked for where `options` has the defaults.

    Raises `InputError` where both name an option, and differ in it.
    """
    runtime = compiled._runtime
    merged: dict[str, Any] = {}
    for name, default in vars(Options()).items():
        old, new = getattr(runtime.options, name), getattr(options, name)
        if default not in (old, new) and old != new:
            raise InputError(
                f"the program is compiled already, with {name}={old!r}; for {name}={new!r} compile its .program"
            )
        merged[name] = new if old == default else old
    return recompile(runtime.program, Options(**merged))


def draw(compiled: Compiled) -> Drawing:
    """As `compiled.draw()`, of programs with a method of this name too."""
    return SHOWN["draw"](compiled._runtime)


def save(compiled: Compiled, path: str | Path) -> Path:
    """As `compiled.save(path)`, of programs with a method of this name too."""
    return SHOWN["save"](compiled._runtime, path)
