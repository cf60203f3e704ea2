"""Batch normalization writes its running statistics without saying so in its schema; here it says so.

PyTorch itself takes `native_batch_norm` apart into operators that do say so, where a call is recorded.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.record.recorder import Recorder
from fxsolve.capture.source import user_line
from fxsolve.errors import SideEffectError
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten

# Where the running mean is, and the train flag; the latter is missing from those that always update.
_WRITERS: Mapping[OpOverload, tuple[int, int | None]] = {
    aten.native_batch_norm.default: (3, 5),
    aten.cudnn_batch_norm.default: (3, 5),
    aten.miopen_batch_norm.default: (3, 5),
    aten.batch_norm_update_stats.default: (1, None),
    aten.batch_norm_gather_stats.default: (3, None),
    aten.batch_norm_gather_stats_with_counts.default: (3, None),
}


def keeps_statistics(function: OpOverload) -> bool:
    """Whether the operator may write running statistics that its schema does not declare."""
    return function in _WRITERS


def updates_statistics(function: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether this call writes running statistics that its schema does not declare."""
    if function not in _WRITERS:
        return False
    mean, flag = _WRITERS[function]
    return isinstance(args[mean], Tensor) and (flag is None or bool(args[flag]))


def record_normalization(
    recorder: Recorder, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Record a normalization that updates no running statistics.

    Raises:
        SideEffectError: it does.
    """
    if updates_statistics(function, args):
        raise SideEffectError(f"{user_line()}: {function} updates running statistics unseen; call it in eval mode.")
    return recorder.call(function, args, kwargs)
