"""A number of Python's and the tensor that holds it, in one value that computes with both."""

import builtins
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fxsolve.errors import CaptureError
from fxsolve.torch_compat.dispatch import WithoutTorchFunction

REALS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
WHOLE = frozenset({torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8})
# What is computed with numbers without reading them.
ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv)
COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)


class NumberFollower(Protocol):
    """What follows numbers of the program and their tensors."""

    def read(self, tensor: Tensor) -> Any:
        """The number in a tensor, followed."""
        ...

    def number(self, value: Any, tensor: Tensor) -> Any:
        """A number that was computed, and the tensor that holds it, followed."""
        ...


class Number:
    """What a number and its tensor have in common; `watch` follows both."""

    value: Any
    tensor: Tensor
    watch: NumberFollower

    def plain(self) -> Any:
        """The number itself, which is guarded from then on."""
        with WithoutTorchFunction():
            return self.tensor.item()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(type(self.value), name):
            raise AttributeError(f"a number has no {name}")
        return getattr(self.plain(), name)


class Float(Number, torch.SymFloat):
    """A real number; torch takes it where it takes a number, and `isinstance` says that it is a `float`."""

    def __init__(self, value: float, tensor: Tensor, watch: NumberFollower) -> None:
        self.value, self.tensor, self.watch = value, tensor, watch

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return float


class Int(Number, torch.SymInt):
    """As `Float`, for whole numbers."""

    def __init__(self, value: int, tensor: Tensor, watch: NumberFollower) -> None:
        self.value, self.tensor, self.watch = value, tensor, watch

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return int


@dataclass(frozen=True)
class Returned:
    """A number in the result of a program, as its tensor."""

    tensor: Tensor


def is_number(value: Any) -> bool:
    """Whether a value is a number that is followed."""
    return issubclass(type(value), Number)


def _tensor(value: Any) -> Any:
    return value.tensor if is_number(value) else value


def _value(value: Any) -> Any:
    return value.value if is_number(value) else value


def _arithmetic(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(*numbers: Any) -> Any:
        if not all(is_number(one) or type(one) in (int, float, bool) for one in numbers):
            return NotImplemented
        watch = next(one for one in numbers if is_number(one)).watch
        value = function(*map(_value, numbers))
        # Python's are mixed as torch's are not: every real number is one of double precision.
        is_real = type(value) is float
        given = [one.double() if is_real and isinstance(one, Tensor) else one for one in map(_tensor, numbers)]
        if function is operator.truediv and not isinstance(given[0], Tensor):
            given[0] = given[1].new_full((), given[0])  # a number over a tensor is its reciprocal times the number
        return watch.number(value, function(*given))

    return compute


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    forward = _arithmetic(function)
    return lambda one, other: forward(other, one)


def _comparison(function: Callable[..., Any]) -> Callable[..., Any]:
    def compare(one: Any, other: Any) -> Any:
        if not (is_number(other) or type(other) in (int, float, bool)):
            return NotImplemented
        given = [part.double() if isinstance(part, Tensor) else part for part in (one.tensor, _tensor(other))]
        outcome = bool(function(*given))
        if outcome != function(one.value, _value(other)):
            raise CaptureError("a comparison of numbers comes out differently in torch")
        return outcome

    return compare


def _as_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(one: Any, *others: Any) -> Any:
        return function(one.plain(), *(other.plain() if is_number(other) else other for other in others))

    return call


def _complete(kind: Any) -> None:
    """Give a class the operators of numbers."""
    for function in ARITHMETIC:
        setattr(kind, f"__{function.__name__}__", _arithmetic(function))
        setattr(kind, f"__r{function.__name__}__", _reflected(function))
    for name in ("neg", "abs", "pos"):
        setattr(kind, f"__{name}__", _arithmetic(getattr(operator, name)))
    for function in COMPARISONS:
        setattr(kind, f"__{function.__name__}__", _comparison(function))
    kind.__bool__ = lambda one: one != 0
    for name in ("pow", "floordiv", "mod", "divmod", "round", "trunc", "floor", "ceil", "index"):
        function = getattr(operator, name, None) or getattr(builtins, name, None) or getattr(math, name)
        setattr(kind, f"__{name}__", _as_plain(function))
    for name in ("pow", "floordiv", "mod"):
        function = getattr(operator, name)
        setattr(kind, f"__r{name}__", lambda one, other, function=function: function(other, one.plain()))
    for name, function in {"float": float, "int": int, "complex": complex, "str": str, "repr": repr}.items():
        setattr(kind, f"__{name}__", _as_plain(function))
    kind.__hash__ = _as_plain(hash)
    kind.__format__ = _as_plain(format)
    kind.__reduce_ex__ = lambda one, _: (type(one.value), (one.plain(),))
    kind.__copy__ = kind.__deepcopy__ = lambda one, *_: one


_complete(Float)
_complete(Int)


def is_read_alone(tensor: Tensor) -> bool:
    """Whether a tensor holds one number that can be followed."""
    return tensor.numel() == 1 and tensor.dtype in REALS | WHOLE and tensor.layout is torch.strided
