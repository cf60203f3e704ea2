"""Dynamo and inductor, each looked up at its first use: they take seconds to import."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor, nn

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    # torch.compiler.disable imports the compiler at once.
    from torch._compile import _disable_dynamo

_Function = TypeVar("_Function", bound=Callable[..., Any])
_STANCE = "_stance"


def runs_between_graphs(function: _Function, reason: str) -> _Function:
    """The function, into which torch.compile does not look; its error under fullgraph=True quotes the reason."""
    disabled: Any = _disable_dynamo(function)
    # What torch.compiler.disable(reason=...) sets.
    disabled._torchdynamo_disable = True
    disabled._torchdynamo_disable_msg = reason
    return disabled


def stance() -> Any:
    """What `torch.compiler.set_stance` has set: whether what torch.compile made is compiled, or runs as written."""
    with relied_on():
        from torch._dynamo import eval_frame
    kept = lookup(eval_frame, _STANCE)
    lookup(kept, "stance")
    return kept


def set_stance(value: Any) -> None:
    """Set it for all threads, at once."""
    with relied_on():
        from torch._dynamo import eval_frame
    setattr(eval_frame, _STANCE, value)


def compile_by_inductor(module: nn.Module, inputs: list[Tensor]) -> Callable[..., Any]:
    """Without the guards of `torch.compile`; inductor may rewrite what it is given."""
    with relied_on():
        from torch._inductor import compile
    return compile(module, inputs)  # pyright: ignore


def inductor_settings() -> Hashable:
    """Equal where inductor compiles alike."""
    with relied_on():
        from torch._inductor import config
    return lookup(config, "get_hash")()
