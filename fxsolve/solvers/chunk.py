"""Several steps of a loop in one graph, which is compiled at its first call."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fxsolve.solvers.lazy import without_flags

_Layout = tuple[Any, ...]


class Chunk(nn.Module):
    """A graph that is compiled at its first call, for the shapes of that call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._compiled: tuple[Callable[..., Any], list[_Layout]] | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        """The graph as a function of tensors laid out as these are."""

    def forward(self, *inputs: Tensor) -> Any:
        plain = without_flags(inputs)
        return self.code_for(plain)(*plain)

    def code_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        """The compiled graph. It is for all tensors that are laid out as these are, and does not look whether they are.

        It reads their memory: none may be conjugated or negated by a flag.

        Raises `ValueError` if the graph was compiled for others: the code would read beside them.
        """
        if self._compiled is None:
            with self._lock:
                self._compiled = self._compiled or (self.compile_for(inputs), list(map(_layout, inputs)))
        code, layouts = self._compiled
        found = list(map(_layout, inputs))
        if found != layouts and not _are_alike(found, layouts):
            raise ValueError("these tensors are laid out as those were not that the graph was compiled for")
        return code

    def __getstate__(self) -> dict[str, Any]:
        """Compiled code and locks stay behind: a copy asks for code at its first call."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_compiled", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._compiled = None
        self._lock = threading.Lock()


def _layout(tensor: Tensor) -> _Layout:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _are_alike(some: Sequence[_Layout], others: Sequence[_Layout]) -> bool:
    """Whether layouts are the same but for the strides of dimensions of size 1, along which nobody steps."""
    return [_stepped(one) for one in some] == [_stepped(one) for one in others]


def _stepped(layout: _Layout) -> _Layout:
    shape, strides, *others = layout
    return shape, [stride for size, stride in zip(shape, strides, strict=True) if size != 1], *others
