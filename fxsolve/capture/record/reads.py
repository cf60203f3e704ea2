"""Operators by which Python learns something about values: run, and what was learned is guarded."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.record.arrays import Follower
from fxsolve.capture.record.recorder import Recorder
from fxsolve.capture.record.sizes import SIZES
from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.operators import OpOverload, schema_of

aten = torch.ops.aten


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _allclose(a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(torch.isclose(a, b, rtol, atol, equal_nan).all())


# What such an operator returns is computed again from recorded calls that end in one scalar read.
_PREDICATES: Mapping[OpOverload, Callable[..., bool]] = {
    aten.equal.default: _equal,
    aten.allclose.default: _allclose,
}


def _has_no_errors(info: Tensor, *_: Any, **__: Any) -> bool:
    return not bool(torch.any(info))


def _holds(condition: Tensor, *_: Any) -> bool:
    return bool(condition)


# These return nothing, and raise where a value is not as it must be: a read of whether they raise.
_CHECKS: Mapping[OpOverload, Callable[..., bool]] = {
    aten._linalg_check_errors.default: _has_no_errors,
    aten._assert_async.default: _holds,
    aten._assert_async.msg: _holds,
}

# These say nothing about values, and what they say is the same in every run with these shapes and devices.
_METADATA = frozenset(
    {
        aten.is_same_size.default,
        aten.is_pinned.default,
        aten._assert_tensor_metadata.default,
        torch.ops.prim.device.default,
        # Forward-mode differentiation asks this to lay out tangents; their values do not depend on the answer.
        aten._has_same_storage_numel.default,
    }
)


def _returns_tensor(function: OpOverload) -> bool:
    return any("Tensor" in str(value.type) for value in schema_of(function).returns)


def is_read(function: OpOverload) -> bool:
    """Whether Python learns something about values: a number, the size of the result, or that no error is raised."""
    return torch.Tag.dynamic_output_shape in function.tags or not _returns_tensor(function)


def guard_read(recorder: Recorder, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator by which Python learns about values, and guard what it learned.

    Raises:
        CaptureError: there is no rule for the operator.
    """
    if function is aten._local_scalar_dense.default:
        value = function(*args)
        recorder.guard(args[0], value)
        return value
    if function in _PREDICATES:
        with recorder:
            value = _PREDICATES[function](*args, **kwargs)
        if value == function(*args, **kwargs):
            return value
    if function in SIZES:
        with recorder:
            SIZES[function](*args, **kwargs)
        return recorder.call(function, args, kwargs)
    if function in _CHECKS:
        function(*args, **kwargs)
        with recorder:
            _CHECKS[function](*args, **kwargs)
        return None
    if function in _METADATA:
        return function(*args, **kwargs)
    raise CaptureError(f"{user_line()}: fxsolve cannot guard what the program reads by {function}; rewrite this line.")


def check_literal(recorder: Follower, literal: Tensor) -> None:
    """Refuse `torch.FloatTensor([x[0], 1.0])`, which reads its items unseen, wherever such an item may be involved."""
    # Memory that belongs to NumPy cannot be resized: that literal comes from an array.
    if not recorder.literal_is_checked and literal.untyped_storage().resizable() and recorder.holds_scalar():
        raise CaptureError(f"{user_line()}: this constructor may read tensor values unseen; use torch.tensor or stack.")
