"""Several steps of a loop in one graph, which is compiled at its first call."""

import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Chunk(nn.Module):
    """A graph that is compiled at its first call, for the shapes of that call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._compiled: Callable[..., Any] | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        """The graph as a function of tensors laid out as these are."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._compiled is None:
            with self._lock:
                self._compiled = self._compiled or self.compile_for(inputs)
        return self._compiled(*inputs)

    def __getstate__(self) -> dict[str, Any]:
        """Compiled code and locks stay behind: a copy asks for code at its first call."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_compiled", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._compiled = None
        self._lock = threading.Lock()
