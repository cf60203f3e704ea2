"""Batches that only torch's own operations know: the levels of vmap, and tensors without memory."""

from collections.abc import Callable

from torch import Tensor

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    from torch import _add_batch_dim, _remove_batch_dim  # pyright: ignore[reportPrivateImportUsage]
    from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
    from torch._C import _vmapmode_decrement_nesting as leave_level
    from torch._C import _vmapmode_increment_nesting as enter_level
    from torch._subclasses.fake_tensor import FakeTensorMode

__all__ = ["FakeTensorMode", "enter_level", "leave_level"]

# (stacked, dimension, level), and (batch, level, size, dimension).
as_batch: Callable[[Tensor, int, int], Tensor] = _add_batch_dim
entries_of_batch: Callable[[Tensor, int, int, int], Tensor] = _remove_batch_dim

is_batch: Callable[[Tensor], bool] = lookup(_functorch, "is_legacy_batchedtensor")
