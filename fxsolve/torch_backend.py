"""`torch.compile(model, backend="fxsolve")`: dynamo captures the program, fxsolve compiles each of its graphs.

Dynamo unrolls a loop as it follows Python: it takes longer for it than a recording does, leaves a graph break where a
value is read, and captures anew at a new length. `fxsolve.compile(model)` has none of this.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from fxsolve.compiler import compile


def compile_graph(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """A graph of dynamo's, compiled at its first call, with its gradients; `options` are those of `fxsolve.compile`.

    `mode` is handed on as the option of that name. Raises `InputError` for options that there are not.
    """
    given: dict[str, Any] = {**(options or {}), **({"mode": mode} if mode is not None else {})}
    return compile(graph, **given)
