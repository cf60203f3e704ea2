"""Memory that is allocated and that no recorded call has written into: what it holds is not known to any graph.

ATen functions may fill such memory unseen, as `at::tensor(list)` does; a graph that allocates it again would read
whatever lies there.
"""

from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.state.memory import storage_of
from fxsolve.torch_compat.operators import OpOverload, once_each, operator_name_of
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten

_ALLOCATIONS = frozenset(
    {
        aten.empty.memory_format,
        aten.empty_like.default,
        aten.empty_strided.default,
        aten.new_empty.default,
        aten.new_empty_strided.default,
    }
)
_COPIES = frozenset({aten.clone.default, aten._to_copy.default})
# They write into a copy of their first argument, as their forms in place do into that itself.
_WRITES = frozenset(
    {
        "copy",
        "fill",
        "zero",
        "select_scatter",
        "slice_scatter",
        "diagonal_scatter",
        "as_strided_scatter",
        "scatter",
        "index_copy",
        "index_fill",
        "index_put",
        "masked_scatter",
    }
)
_METADATA = ("_like", "new_")  # in the names of ops that read no more than shape, dtype and device


@once_each
def _may_hand_out(function: OpOverload) -> bool:
    """Whether an operator may return memory that nothing has been written into."""
    return function in _COPIES or function in _ALLOCATIONS


class Uninitialized:
    """The allocations of a recording that nothing has been written into."""

    def __init__(self) -> None:
        # Kept alive, so that no other memory gets the number. A tensor that is kept would be detached on its way out.
        self._held: dict[int, torch.UntypedStorage] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def note(self, function: OpOverload, args: tuple[Any, ...], result: Any) -> None:
        """See what a call returned."""
        if not _may_hand_out(function):
            return
        is_copy = function in _COPIES and storage_of(args[0]) in self._held
        if (is_copy or function in _ALLOCATIONS) and result.numel():
            self._held[storage_of(result)] = result.untyped_storage()

    def write(self, tensors: list[Tensor]) -> None:
        """A call is about to write into these."""
        for tensor in tensors:
            self._held.pop(storage_of(tensor), None)

    def check(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `CaptureError` if a call reads values that nothing has written."""
        name = operator_name_of(function)
        if function.is_view or function in _COPIES or any(part in name for part in _METADATA):
            return
        for value in pytree.tree_leaves((args[1:] if name in _WRITES else args, kwargs)):
            if isinstance(value, Tensor) and value.numel() and storage_of(value) in self._held:
                raise CaptureError(
                    f"{user_line()}: {function} reads memory that was allocated and not written (torch.empty, or an "
                    "operator that fills it unseen); use torch.zeros or torch.tensor."
                )
