"""Whole tensors that Python reads as lists or NumPy arrays: their values are guarded as one vector."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from fxsolve.capture.bits import same_bits
from fxsolve.capture.communication import Line
from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.state.memory import version_of
from fxsolve.torch_compat.dispatch import without_modes
from fxsolve.torch_compat.trees import pytree

MAX_VALUES = 4096
READS = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__})


class Follower(Protocol):
    """What follows a run: `names` are tensors that the program owns, by id, and `error` is the reason to refuse it.

    `line` leads to other processes; once it was used, the run is not followed any more.
    `hooks` are the functions that the program asks autograd to call.
    """

    error: CaptureError | None
    line: Line
    hooks: list[Any]
    literal_is_checked: bool

    @property
    def names(self) -> Mapping[int, Any]: ...

    def find(self, tensor: Tensor) -> object | None:
        """What is known of a tensor, or None."""
        ...

    def holds_scalar(self) -> bool:
        """Whether a known tensor of one entry is alive."""
        ...

    def refuse(self, error: CaptureError) -> NoReturn:
        """Raise an error that ends the run, and keep it: the program may catch it."""
        ...

    def guard_values(self, tensor: Tensor, expected: tuple[Any, ...]) -> None:
        """The program read all entries of `tensor`, in order."""
        ...

    def move(self, tensor: Tensor, data: Tensor) -> None:
        """The program is about to set `tensor.data` to `data`, which lies elsewhere."""
        ...


@dataclass(frozen=True)
class _Given:
    """An array that the program was given for a tensor: one of a copy, which nobody may write into."""

    tensor: Tensor
    copy: Tensor
    version: int | None
    source: str


class Arrays:
    """The arrays that a run was given."""

    def __init__(self) -> None:
        self._given: list[_Given] = []

    def read(self, follower: Follower, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `function` of a tensor gives, guarded; an array cannot be written into."""
        tensor = args[0]
        value = function(*args, **kwargs)  # raises what torch raises
        if not tensor.numel():
            return value
        with torch.no_grad():
            copy = tensor.detach().clone()
        follower.guard_values(copy, tuple(pytree.tree_leaves(copy.tolist())))
        if function is Tensor.tolist:
            return value
        self._given.append(_Given(tensor, copy, version_of(tensor), user_line()))
        array = function(copy, *args[1:], **kwargs)
        follower.line.is_open = False  # without fxsolve the program could write into the array
        if array.base is not None:  # it is the memory of the copy
            array.flags.writeable = False
        return array

    def explain(self, error: BaseException) -> CaptureError | None:
        """The reason behind an error of the program, if it comes from writing into such an array."""
        if not self._given or not isinstance(error, ValueError) or "read-only" not in str(error):
            return None
        return CaptureError(
            f"{self._given[-1].source}: the program writes into the NumPy array of a tensor; write into a copy of it."
        )

    def changed(self) -> CaptureError | None:
        """The reason to refuse the run: a tensor and its array are no longer what they were, and may have been read."""
        with without_modes():
            for source in _changed(self._given):
                return CaptureError(
                    f"{source}: the program writes into a tensor that it has read as a NumPy array; read a clone of it."
                )
        return None


def _changed(given: Iterable[_Given]) -> Iterable[str]:
    for one in given:
        if version_of(one.tensor) != one.version or not same_bits(one.tensor, one.copy):
            yield one.source
