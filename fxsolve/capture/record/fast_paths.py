"""Layers that ask whether a tensor overrides torch's functions take the path that they always take, when recorded too.

`nn.TransformerEncoderLayer` and `nn.MultiheadAttention` have one fused operator for inference, and do without it where
`torch.overrides.has_torch_function` says yes. It also says so wherever a mode is active, as the watch for reads is one.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.capture.numbers.watch import NumberWatch
from fxsolve.capture.record.read_watch import ReadWatch
from fxsolve.capture.together import Together, Undo
from fxsolve.torch_compat.dispatch import function_modes
from fxsolve.torch_compat.overrides import MODULES_OF_LAYERS

_asked = torch.overrides.has_torch_function
_PLAIN = (Tensor, nn.Parameter)


def _tell_layers(is_here: Callable[[], bool]) -> Undo:
    def has_override(given: Any) -> bool:
        # torch.compile in another thread folds the first question, and does not follow the others.
        if torch.compiler.is_dynamo_compiling() or not is_here():
            return _asked(given)
        # Others, such as torch's operators that take functions, ask for the sake of modes.
        is_layer = str(sys._getframe(1).f_globals.get("__name__")).startswith(MODULES_OF_LAYERS)
        modes = function_modes()
        if not is_layer or [*map(type, modes)] not in ([ReadWatch], [ReadWatch, NumberWatch]):
            return _asked(given)
        return any(hasattr(type(one), "__torch_function__") and type(one) not in _PLAIN for one in given)

    torch.overrides.has_torch_function = has_override
    return lambda: setattr(torch.overrides, "has_torch_function", _asked)


# In the body, torch's layers are told of tensors that override functions, and not of the watch for reads.
fast_paths = Together(_tell_layers)
