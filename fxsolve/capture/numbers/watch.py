"""The mode under which a program reads numbers that are followed."""

import sys
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxsolve.capture.numbers.builtins import Places, followed_builtins
from fxsolve.capture.numbers.values import (
    ARITHMETIC,
    COMPARISONS,
    REALS,
    Float,
    Int,
    Number,
    Returned,
    is_number,
    is_read_alone,
)
from fxsolve.capture.source import is_user_code
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.dispatch import WithoutTorchFunction, without_modes
from fxsolve.torch_compat.trees import pytree

# Calls in which a number is as good as a tensor of it: both become the dtype of the other argument. Kernels of
# narrower types may keep numbers of Python in a wider one.
_PLAIN = frozenset({torch.float32, torch.float64})
_FOLLOWED = frozenset(
    form.format(name)
    for name in (*(function.__name__ for function in (*ARITHMETIC, *COMPARISONS)), "div", "true_divide")
    for form in ("{}", "{}_", "r{}", "__{}__", "__r{}__", "__i{}__")
)


class UnfollowedError(CaptureError):
    """Names of builtins have to be followed in `places`, the globals of functions of the program."""

    def __init__(self, place: dict[str, Any]) -> None:
        super().__init__("numbers are read by builtins that are not followed yet")
        self.place = place


class NumberWatch(TorchFunctionMode):
    """Follows the numbers that a program reads one by one; `places` are globals in which builtins are followed.

    `refuse` ends the recording with an error.
    """

    def __init__(self, refuse: Callable[[CaptureError], NoReturn], places: Places) -> None:
        super().__init__()
        self._refuse = refuse
        self.places = places
        self._alive: list[weakref.ref[Any]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.item and is_read_alone(args[0]):
            return self.read(args[0])
        if func in (Tensor.__float__, Tensor.__int__) and is_read_alone(args[0]):
            self._check_place("float" if func is Tensor.__float__ else "int")
        leaves = pytree.tree_leaves((args, kwargs))
        if any(map(is_number, leaves)):
            args, kwargs = self._with_numbers(func, leaves, args, kwargs)
        return func(*args, **kwargs)

    def read(self, tensor: Tensor) -> Any:
        """The number that a tensor holds."""
        dtype = torch.float64 if tensor.dtype in REALS else torch.int64
        with WithoutTorchFunction(), without_modes():
            value = tensor.detach().item()
        plain = tensor.detach() if tensor.requires_grad else tensor
        return self.number(value, (plain.reshape(()) if plain.dim() else plain).to("cpu", dtype))

    def number(self, value: Any, tensor: Tensor) -> Any:
        """A number that is followed, from Python's value and torch's."""
        kind: Any = Float if type(value) is float else Int
        with WithoutTorchFunction(), without_modes():
            found = tensor.item()
        if type(found) is not type(value) or repr(found) != repr(value):
            raise CaptureError(f"a number is {value!r} in Python and {found!r} in torch")
        made = kind(value, tensor, self)
        self._alive.append(weakref.ref(made))
        return made

    def run(self, program: Callable[[], Any]) -> Any:
        """What the program returns, with numbers as Python has them."""
        with self, followed_builtins(self, self.places):
            return pytree.tree_map_only(Number, lambda one: Returned(one.tensor), program())

    def check(self) -> None:
        """Raise `CaptureError` where the program keeps such a number: it would outlive the run."""
        if any(one() is not None for one in self._alive):
            raise CaptureError("the program keeps a number that it has read")

    def _with_numbers(
        self, func: Any, leaves: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        name = getattr(func, "__name__", "")
        if name not in _FOLLOWED or len(leaves) != 2 or not all(one.dtype in _PLAIN for one in tensors):
            return pytree.tree_map_only(Number, lambda one: one.plain(), (args, kwargs))
        (other,) = tensors or (None,)
        return pytree.tree_map_only(Number, lambda one: _like(one.tensor, other), (args, kwargs))

    def _check_place(self, name: str) -> None:
        place = _place()
        is_known = place is None or any(place is one for one in self.places)
        if not is_known and name not in place:  # pyright: ignore[reportOperatorIssue]
            self._refuse(UnfollowedError(place))  # pyright: ignore[reportArgumentType]


def _like(number: Tensor, other: Tensor | None) -> Tensor:
    """As Python's number is to a tensor without dimensions, whose dtype it does not change."""
    return number if other is None or other.dim() else number.to(other.dtype)


def _place() -> dict[str, Any] | None:
    """The globals of the innermost frame of the user."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_user_code(frame.f_code.co_filename):
            return frame.f_globals
        frame = frame.f_back
    return None
