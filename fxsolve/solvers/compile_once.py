"""Compile a graph by inductor once for all modules of this process that hold the same one."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.economy.clock import processor_seconds
from fxsolve.economy.store import learn_price, read_prices
from fxsolve.torch_compat.compilers import compile_around, compile_by_inductor, inductor_settings, is_started

MOST_KEPT = 128

_Compiler = Callable[[nn.Module, list[Tensor]], Callable[..., Any]]

_kept: OrderedDict[Hashable, Callable[..., Any]] = OrderedDict()
_lock = threading.RLock()


def compile_graph(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
    """A graph without attributes as one compiled function of fixed shapes and strides.

    The function is pure but for what it writes into its inputs, so equal graphs share it: loops with equal steps,
    probes and what is emitted after them, other lengths of one loop, and copies.
    """
    return _once(module, inputs, (), compile_by_inductor)


def compile_kept(module: nn.Module, inputs: tuple[Tensor, ...], kept: frozenset[str]) -> Callable[..., Any]:
    """As `compile_graph`, but the ops named in `kept` are ATen's own: see `compile_around`."""
    return _once(module, inputs, (kept,), lambda copied, given: compile_around(copied, given, kept))


def _once(module: nn.Module, inputs: tuple[Tensor, ...], how: Hashable, compiler: _Compiler) -> Callable[..., Any]:
    key = (str(module.code), how, *map(_layout, inputs), *_settings())
    with _lock:
        if key not in _kept:
            began, first = processor_seconds(), 0.0 if is_started() else read_prices().start_seconds
            with torch.no_grad():
                _kept[key] = compiler(copy.deepcopy(module), list(inputs))
            learn_price(_count_ops(module), processor_seconds() - began - first)
        _kept.move_to_end(key)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
        return _kept[key]


def _count_ops(module: nn.Module) -> int:
    graph: Any = getattr(module, "graph", None)
    return sum(node.op.startswith("call_") for node in graph.nodes) if graph is not None else 0


def _layout(value: Tensor) -> Hashable:
    kind = value.device.type
    return tuple(value.shape), value.stride(), value.dtype, value.device, _autocast(kind)


def _autocast(kind: str) -> torch.dtype | None:
    """What operations on a kind of device would cast to."""
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def _settings() -> tuple[Hashable, ...]:
    """What else goes into compiled code."""
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        inductor_settings(),
    )
