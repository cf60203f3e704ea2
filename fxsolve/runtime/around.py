"""A wrapper that communicates in its own forward, run as it is at every call, around a compiled inner module."""

from collections.abc import Callable
from dataclasses import replace
from types import new_class
from typing import Any, TypeGuard, final

from torch import Tensor, nn

from fxsolve.capture.capture import name_of
from fxsolve.report.report import Report
from fxsolve.runtime.cache import EntryInfo, Variant
from fxsolve.runtime.calls import Runtime
from fxsolve.runtime.entries import Options
from fxsolve.runtime.guard_keys import is_observed
from fxsolve.runtime.patience import Patience
from fxsolve.torch_compat.trees import pytree

Inside = Callable[[nn.Module], tuple[nn.Module, Runtime]]


def is_around(program: Any) -> TypeGuard[nn.Module]:
    """Whether all that a program does itself is to average gradients between processes, for its `module`."""
    return isinstance(program, nn.parallel.DistributedDataParallel)


@final
class AroundRuntime:
    """Runs a wrapper around its compiled `module`, which `inside` makes; the wrapper itself stays unchanged."""

    def __init__(self, program: nn.Module, options: Options, inside: Inside) -> None:
        self.program = program
        self.options = options
        self.patience = Patience(options.max_entries)  # the compiled module inside has one that may rest
        self._inside = inside
        self._compile()

    def _compile(self) -> None:
        self._module: nn.Module = self.program.module  # pyright: ignore[reportAttributeAccessIssue]
        compiled, self._runtime = self._inside(self._module)
        self._view = _view(self.program, compiled)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the wrapper."""
        if is_observed():
            return self.program(*args, **kwargs)
        if self.program.module is not self._module:
            self._compile()
        result = self._view(*args, **kwargs)
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                # The wrapper's backward pass knows the view by a weak reference.
                leaf.grad_fn.metadata["fxsolve"] = self._view  # pyright: ignore[reportIndexIssue]
        return result

    @property
    def latest(self) -> Variant | None:
        return self._runtime.latest

    def report(self) -> Report:
        """What was found, chosen and measured for the module in the latest call."""
        report, name = self._runtime.report(), name_of(self.program)
        note = f"{name} runs as it is, at every call: compiled is the {report.program} inside of it"
        return replace(report, program=name, notes=(*report.notes, note))

    def entries(self) -> tuple[EntryInfo, ...]:
        """Every compiled version that is kept, the least recently used first."""
        return self._runtime.entries()


def _view(program: nn.Module, compiled: nn.Module) -> nn.Module:
    """The same wrapper, its attributes included, but for `module`."""

    def is_same(self: Any, other: Any) -> bool:
        return other is self or other is program

    # An attribute of the class is found before those that nn.Module keeps apart. Hooks may look their module up.
    names = {"module": compiled, "__eq__": is_same, "__hash__": lambda _: hash(program)}
    kind = new_class(type(program).__name__, (type(program),), exec_body=lambda space: space.update(names))
    view = object.__new__(kind)
    object.__setattr__(view, "__dict__", vars(program))
    return view
