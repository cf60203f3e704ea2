"""Gauss-Seidel over a rolled loop whose steps are compiled, several at a time, by inductor."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.solvers.loop import Buffer, Loop
from fxsolve.solvers.solution import Solution, publish


class Fused(nn.Module):
    """A graph that inductor compiles at its first call, for the shapes of that call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._compiled: Callable[..., Any] | None = None
        self._lock = threading.Lock()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._compiled is None:
            with self._lock:
                self._compiled = self._compiled or compile_graph(self.module, inputs)
        return self._compiled(*inputs)

    def __getstate__(self) -> dict[str, Any]:
        """Compiled code and locks stay behind: a copy compiles again at its first call."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_compiled", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._compiled = None
        self._lock = threading.Lock()


def compile_graph(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
    """The graph as one compiled function of fixed shapes and strides, without the guards of `torch.compile`."""
    with torch.no_grad():
        return torch._inductor.compile(module, list(inputs))  # pyright: ignore


def fused_gauss_seidel(
    loop: Loop,
    chunk: nn.Module,
    unroll: int,
    initial: tuple[tuple[Tensor, ...], ...],
    buffers: tuple[Tensor, ...],
    per_step: tuple[Tensor, ...],
    shared: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """Run the T steps in order, `unroll` of them in one call of `chunk`, the rest one by one with `loop.body`.

    chunk(states..., per_step[t : t + unroll]..., shared...) returns the states behind the chunk and then every output
    of the body, stacked (unroll, ...). All lags have distance 1, and the body does not read the buffers.
    """
    states = [values[0] for values in initial]
    pieces: list[tuple[Tensor, ...]] = []
    whole = loop.length // unroll
    for _, *items in zip(range(whole), *(item.split(unroll)[:whole] for item in per_step), strict=True):
        # Compiled code expects the strides that it was compiled for.
        results = chunk(*(state.contiguous() for state in states), *items, *shared)
        states = list(results[: len(states)])
        pieces.append(results[len(states) :])
    rest = (item[whole * unroll :].unbind(0) for item in per_step)
    for _, *items in zip(range(whole * unroll, loop.length), *rest, strict=True):
        outputs = loop.body(*states, *buffers, *items, *shared)
        states = [outputs[lag.output] for lag in loop.lags]
        pieces.append(tuple(output.unsqueeze(0) for output in outputs))
    stacks = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
    publish(Solution(loop.name, "fused_gauss_seidel", loop.length, loop.length, "sequential", prefix=loop.length))
    filled = [_fill(buffer, spec, stacks[spec.output]) for buffer, spec in zip(buffers, loop.buffer_specs, strict=True)]
    return (*(stacks[k] for k in loop.stacked), *(stacks[k][-1].clone() for k in loop.last), *filled)


def _fill(buffer: Tensor, spec: Buffer, values: Tensor) -> Tensor:
    index = torch.tensor(spec.index, device=buffer.device)
    return buffer.index_copy(spec.dim, index, values.movedim(0, spec.dim))
