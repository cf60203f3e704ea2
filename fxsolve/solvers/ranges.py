"""Solves under their names in torch's profiler."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from torch.profiler import record_function

from fxsolve.torch_compat.profiling import is_profiling

P = ParamSpec("P")
R = TypeVar("R")


def profiled(solve: Callable[P, R]) -> Callable[P, R]:
    """The solver, whose solves are ranges `fxsolve: METHOD(LOOP)` of a profile; its first argument is the loop."""

    @functools.wraps(solve)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_profiling():
            return solve(*args, **kwargs)
        loop: Any = args[0]
        with record_function(f"fxsolve: {solve.__name__}({loop.name})"):
            return solve(*args, **kwargs)

    return run
