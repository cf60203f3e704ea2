"""What each equation of a system costs on this device, measured on values."""

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fxsolve.economy.clock import synchronize
from fxsolve.ir.spec import Block, Equation, System
from fxsolve.lower.arguments import Values
from fxsolve.lower.readable import readable_copy
from fxsolve.plan.complete import in_order
from fxsolve.plan.lower import lower

_PASSES = 2


def time_equations(system: System, values: Mapping[str, Tensor]) -> list[float]:
    """Seconds of each equation in order, the best of two passes; `values` has one for each input of the system."""
    named = dict(values)
    with torch.no_grad():
        return [_time(equation, named) for equation in system.equations]


def _time(equation: Equation, named: dict[str, Tensor]) -> float:
    """The seconds of one equation, whose results are added to `named`."""
    run = _runner(equation, named)
    spent: list[float] = []
    for _ in range(_PASSES):
        synchronize()
        start = time.perf_counter()
        results = run()
        synchronize()
        spent.append(time.perf_counter() - start)
        named.update(results)
    return min(spent)


def _runner(equation: Equation, named: Mapping[str, Tensor]) -> Callable[[], dict[str, Tensor]]:
    if not isinstance(equation, Block):
        return lower(equation, (in_order(equation),)).bind(Values(named))
    body, inputs = readable_copy(equation.body), [named[name] for name in equation.inputs]
    return lambda: dict(zip(equation.outputs, body(*inputs), strict=True))
