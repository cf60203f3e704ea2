"""What fxsolve runs inside of torch.compile is not looked into: it comes between two graphs."""

from collections.abc import Callable
from typing import Any

from torch._compile import _disable_dynamo  # torch.compiler.disable imports the compiler at once, which takes a second


@_disable_dynamo
def run_between_graphs(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function whose first lines lead here where torch.compile follows them: nothing follows it now."""
    return function(*args, **kwargs)


# What torch.compiler.disable(reason=...) sets: torch's own error under fullgraph=True quotes it.
run_between_graphs._torchdynamo_disable = True  # pyright: ignore[reportFunctionMemberAccess]
run_between_graphs._torchdynamo_disable_msg = (  # pyright: ignore[reportFunctionMemberAccess]
    "what fxsolve emitted runs between the graphs of torch.compile; leave out fullgraph=True, or hand torch.compile "
    "the model itself, which is the .program of the compiled one"
)
