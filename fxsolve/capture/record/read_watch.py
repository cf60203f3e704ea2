"""Values of tensors that reach Python past the dispatcher: guarded where that can be, refused elsewhere."""

from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxsolve.capture.backward.differentiation import BACKWARD_PASSES
from fxsolve.capture.plain import refuse_unusual
from fxsolve.capture.record.arrays import MAX_VALUES, READS, Arrays, Follower
from fxsolve.capture.record.checked import CHECKED
from fxsolve.capture.record.higher_order import is_control_flow, run_control_flow
from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.state.memory import is_same_memory
from fxsolve.torch_compat.dispatch import WithoutTorchFunction
from fxsolve.torch_compat.operators import HigherOrderOperator
from fxsolve.torch_compat.tensors import typed_storage
from fxsolve.torch_compat.trees import pytree

# What these do to the values or the memory of a tensor without an ATen call.
_BYPASSES = {
    **dict.fromkeys(
        (
            Tensor.__dlpack__,
            Tensor.__deepcopy__,
            Tensor.__reduce_ex__,
            Tensor.__repr__,
            Tensor.data_ptr,
            Tensor.__cuda_array_interface__.__get__,
        ),
        "reads",
    ),
    **dict.fromkeys((Tensor.untyped_storage, typed_storage, Tensor.storage), "reads or writes"),
    **dict.fromkeys(
        (Tensor.apply_, Tensor.map_, Tensor.map2_),  # pyright: ignore[reportAttributeAccessIssue]
        "writes",
    ),
}
_SET_DATA: Any = Tensor.data.__set__  # pyright: ignore[reportAttributeAccessIssue]
_HOOKS = frozenset({Tensor.register_hook, Tensor.register_post_accumulate_grad_hook})
_INDEXING = frozenset({Tensor.__getitem__, Tensor.__setitem__})
_LITERALS = frozenset({torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}) | _INDEXING
# Most functions that a program calls are none of these, nor operators that take functions.
_WATCHED = frozenset({*_BYPASSES, _SET_DATA, *READS, *_LITERALS, *_HOOKS, *BACKWARD_PASSES, *CHECKED})


@cache
def _name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    return getattr(owner, "__name__", None) or getattr(function, "__name__", str(function))


class ReadWatch(TorchFunctionMode):
    """Guards or refuses reads that bypass the dispatcher."""

    def __init__(self, recorder: Follower) -> None:
        super().__init__()
        self.recorder = recorder
        self._arrays = Arrays()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if self.recorder.line.used:
            return
        problem = self._arrays.changed() if error is None else self._arrays.explain(error)
        self.recorder.error = self.recorder.error or problem

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.recorder.line.used or (func not in _WATCHED and not is_control_flow(func)):
            return func(*args, **(kwargs or {}))
        if func in _BYPASSES and self._is_recorded(args[0]):
            self._refuse(f"Tensor.{_name(func)} {_BYPASSES[func]} tensor values")
        if func == _SET_DATA and isinstance(args[1], Tensor):
            return self._set_data(args[0], args[1])
        if func in READS:
            return self._read(func, args, kwargs or {})
        if func in _LITERALS:
            return self._make_literal(func, args, kwargs or {})
        if func in _HOOKS:
            self.recorder.hooks.append(args[1])
        if func in BACKWARD_PASSES:
            with self:
                return BACKWARD_PASSES[func](*args, **(kwargs or {}))
        if func in CHECKED:
            with self:
                found = CHECKED[func](*args, **(kwargs or {}))
            if found is not None:
                return found
        if is_control_flow(func):
            return self._run_as_written(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def _read(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with WithoutTorchFunction():
            if args[0].numel() > MAX_VALUES:
                self._refuse(f"Tensor.{_name(function)} of more than {MAX_VALUES} entries reads tensor values")
            return self._arrays.read(self.recorder, function, args, kwargs)

    def _set_data(self, tensor: Tensor, value: Tensor) -> None:
        """Set `tensor.data`; what it holds then is a view of `value` that no gradient flows through."""
        data = value.detach()
        with WithoutTorchFunction():
            try:
                refuse_unusual(value, "what the program sets the data of a tensor to")
                if is_same_memory(tensor, data):
                    return  # `tensor.data *= 2` ends so
                self.recorder.move(tensor, data)
            except CaptureError as error:
                self.recorder.error = self.recorder.error or error
                raise
            _SET_DATA(tensor, data)

    def _run_as_written(self, operator: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            with self:
                return run_control_flow(operator, args, kwargs)
        except CaptureError as error:
            self.recorder.error = self.recorder.error or error
            raise

    def _make_literal(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        items = _index_items(*args[1:]) if function in _INDEXING else _items(args, kwargs)
        if any(map(self._is_recorded, items)):
            self._refuse(f"{_name(function)} with a list of tensors reads tensor values")
        self.recorder.literal_is_checked = True
        try:
            return function(*args, **kwargs)
        finally:
            self.recorder.literal_is_checked = False

    def _is_recorded(self, value: Any) -> bool:
        with WithoutTorchFunction():
            return isinstance(value, Tensor) and (
                self.recorder.find(value) is not None or id(value) in self.recorder.names
            )

    def _refuse(self, what: str) -> NoReturn:
        error = CaptureError(
            f"{user_line()}: {what} outside of torch, where they cannot be followed; "
            "use torch operations, or .item() for a number."
        )
        self.recorder.refuse(error)


def _items(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    literals = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, (list, tuple))]
    return pytree.tree_leaves(literals)


def _index_items(index: Any, value: Any = None) -> list[Any]:
    # A tensor in a tuple indexes by an ATen call; in a list, or a list that is assigned, it is read.
    parts = (*index, value) if isinstance(index, tuple) else (index, value)
    return pytree.tree_leaves([part for part in parts if isinstance(part, list)])
