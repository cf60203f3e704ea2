"""What fxsolve runs inside of torch.compile is not looked into: it comes between two graphs."""

from collections.abc import Callable
from typing import Any

from fxsolve.torch_compat.compilers import runs_between_graphs


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function whose first lines lead here where torch.compile follows them: nothing follows it now."""
    return function(*args, **kwargs)


run_between_graphs = runs_between_graphs(
    _run,
    "what fxsolve emitted runs between the graphs of torch.compile; leave out fullgraph=True, or hand torch.compile "
    "the model itself, which is the .program of the compiled one",
)
