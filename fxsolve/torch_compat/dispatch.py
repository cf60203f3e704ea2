"""What follows the operations of a thread: modes, transforms, autocast, tracers."""

from collections.abc import Callable
from typing import Any

from torch import compiler
from torch.autograd import forward_ad

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    from torch._C import DisableTorchFunction as WithoutTorchFunction
    from torch._C import _autograd, _functorch  # pyright: ignore[reportAttributeAccessIssue]
    from torch._C import _get_tracing_state as tracing_state
    from torch._C import _is_any_autocast_enabled as is_any_autocast_enabled
    from torch._C import _len_torch_dispatch_stack as count_dispatch_modes
    from torch._C import _len_torch_function_stack as count_function_modes
    from torch.overrides import _get_current_function_mode_stack as function_modes
    from torch.utils._device import DeviceContext
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._python_dispatch import _disable_current_modes as without_modes
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as dispatch_modes

__all__ = [
    "DeviceContext",
    "TorchDispatchMode",
    "WithoutTorchFunction",
    "count_dispatch_modes",
    "count_function_modes",
    "dispatch_modes",
    "function_modes",
    "is_any_autocast_enabled",
    "tracing_state",
    "without_modes",
]

# The innermost transform of torch.func, or None.
current_transform: Callable[[], Any] = lookup(_functorch, "peek_interpreter_stack")
_hooks_on_saved_tensors: Callable[[bool], Any] = lookup(_autograd, "_top_saved_tensors_default_hooks")
lookup(forward_ad, "_current_level")
lookup(compiler, "_is_exporting_flag")
lookup(TorchDispatchMode, "_should_skip_dynamo")


def has_hooks_on_saved_tensors() -> bool:
    """Whether hooks see what autograd saves, as `torch.utils.checkpoint` sets them."""
    return _hooks_on_saved_tensors(False) is not None


def is_forward_mode() -> bool:
    """Whether forward-mode derivatives are computed."""
    return forward_ad._current_level >= 0


def is_exporting() -> bool:
    """As `torch.compiler.is_exporting`, which is wrong in torch 2.11 where torch.compile follows it."""
    return compiler._is_exporting_flag


class LightMode(TorchDispatchMode):
    """A mode in which nothing of the user's runs that torch.compile may compile now.

    Hiding every call of another mode from torch.compile costs 3 us, and more where it has a stance of ours.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class OnMeta(LightMode):
    """Makes every new tensor one without memory, whatever device it is asked for on."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if kwargs and kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **(kwargs or {}))
