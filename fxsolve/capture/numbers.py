"""Numbers that a program reads from tensors and computes with in Python, followed as tensors.

    error = (x - y).abs().max().item()      # a `Float`, which holds the number and a 0-d tensor of it on the CPU
    if error < 1e-4 * size:                 # the comparison is recorded, and guarded by its outcome
    w = w / float(norm)                     # a call that reads the tensor

Python computes with real numbers in double precision, as torch does with tensors of float64, so both are the same to
the last bit; that is checked for every result. Where a number goes elsewhere, into a format string, a shape or a call
that is not known here, it is the number that was read, and guarded as one.
"""

import builtins
import functools
import math
import operator
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxsolve.capture.source import is_user_code
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.dispatch import WithoutTorchFunction, without_modes
from fxsolve.torch_compat.trees import pytree

if TYPE_CHECKING:
    from fxsolve.capture.record.recorder import Recorder

_REALS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_WHOLE = frozenset({torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8})
# Calls in which a number is as good as a tensor of it: both become the dtype of the other argument. Kernels of
# narrower types may keep numbers of Python in a wider one.
_PLAIN = frozenset({torch.float32, torch.float64})
_FOLLOWED = frozenset(
    {"add", "sub", "mul", "div", "true_divide", "lt", "le", "gt", "ge", "eq", "ne"}
    | {"add_", "sub_", "mul_", "div_", "__radd__", "__rsub__", "__rmul__", "__rdiv__", "__rtruediv__", "rsub"}
    | {"__iadd__", "__isub__", "__imul__", "__idiv__", "__itruediv__", "__add__", "__sub__", "__mul__", "__truediv__"}
    | {"__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"}
)


Places = tuple[dict[str, Any], ...]


class UnfollowedError(CaptureError):
    """Names of builtins have to be followed in `places`, the globals of functions of the program."""

    def __init__(self, place: dict[str, Any]) -> None:
        super().__init__("numbers are read by builtins that are not followed yet")
        self.place = place


class _Number:
    """What a number and its tensor have in common; `watch` follows both."""

    value: Any
    tensor: Tensor
    watch: "NumberWatch"

    def plain(self) -> Any:
        """The number itself, which is guarded from then on."""
        with WithoutTorchFunction():
            return self.tensor.item()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(type(self.value), name):
            raise AttributeError(f"a number has no {name}")
        return getattr(self.plain(), name)


class Float(_Number, torch.SymFloat):
    """A real number; torch takes it where it takes a number, and `isinstance` says that it is a `float`."""

    def __init__(self, value: float, tensor: Tensor, watch: "NumberWatch") -> None:
        self.value, self.tensor, self.watch = value, tensor, watch

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return float


class Int(_Number, torch.SymInt):
    """As `Float`, for whole numbers."""

    def __init__(self, value: int, tensor: Tensor, watch: "NumberWatch") -> None:
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
    return issubclass(type(value), _Number)


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
    followed = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv}
    for name, function in followed.items():
        setattr(kind, f"__{name}__", _arithmetic(function))
        setattr(kind, f"__r{name}__", _reflected(function))
    for name in ("neg", "abs", "pos"):
        setattr(kind, f"__{name}__", _arithmetic(getattr(operator, name)))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(kind, f"__{name}__", _comparison(getattr(operator, name)))
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


class NumberWatch(TorchFunctionMode):
    """Follows the numbers that a program reads one by one; `places` are globals in which builtins are followed."""

    def __init__(self, recorder: "Recorder", places: Places) -> None:
        super().__init__()
        self.recorder = recorder
        self.places = places
        self._thread = threading.get_ident()
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
        dtype = torch.float64 if tensor.dtype in _REALS else torch.int64
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
        with self, followed_builtins(self):
            return pytree.tree_map_only(_Number, lambda one: Returned(one.tensor), program())

    def is_here(self) -> bool:
        """Whether the program runs in this thread."""
        return threading.get_ident() == self._thread

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
            return pytree.tree_map_only(_Number, lambda one: one.plain(), (args, kwargs))
        (other,) = tensors or (None,)
        return pytree.tree_map_only(_Number, lambda one: _like(one.tensor, other), (args, kwargs))

    def _check_place(self, name: str) -> None:
        place = _place()
        is_known = place is None or any(place is one for one in self.places)
        if not is_known and name not in place:  # pyright: ignore[reportOperatorIssue]
            self.recorder.refuse(UnfollowedError(place))  # pyright: ignore[reportArgumentType]


def _like(number: Tensor, other: Tensor | None) -> Tensor:
    """As Python's number is to a tensor without dimensions, whose dtype it does not change."""
    return number if other is None or other.dim() else number.to(other.dtype)


def is_read_alone(tensor: Tensor) -> bool:
    """Whether a tensor holds one number that can be followed."""
    return tensor.numel() == 1 and tensor.dtype in _REALS | _WHOLE and tensor.layout is torch.strided


def _place() -> dict[str, Any] | None:
    """The globals of the innermost frame of the user."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_user_code(frame.f_code.co_filename):
            return frame.f_globals
        frame = frame.f_back
    return None


class _Kind(type):
    """A builtin type that makes numbers, in functions whose numbers are followed."""

    kind: type
    watch: NumberWatch

    def __call__(cls, *args: Any) -> Any:
        if not cls.watch.is_here():
            return cls.kind(*args)
        if len(args) == 1 and type(args[0]) in (Float, Int) and isinstance(args[0], cls.kind):
            return args[0]
        if len(args) == 1 and cls.kind is float and type(args[0]) is Int:
            return args[0] * 1.0
        one = args[0] if len(args) == 1 else None
        if isinstance(one, Tensor) and is_read_alone(one) and (one.dtype in _REALS) == (cls.kind is float):
            return cls.watch.read(one)
        return cls.kind(*args)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.kind)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.kind)

    def __or__(cls, other: Any) -> Any:
        return cls.kind | other

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.kind

    def __hash__(cls) -> int:
        return hash(cls.kind)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.kind, name)


@contextmanager
def followed_builtins(watch: NumberWatch) -> Iterator[None]:
    """In the body, `float` and `int` of tensors are followed in the places of the watch."""
    kinds = builtins.float, builtins.int
    made = {kind.__name__: _Kind(kind.__name__, (), {"kind": kind, "watch": watch}) for kind in kinds}
    added = [(place, name) for place in watch.places for name in made if name not in place]
    for place, name in added:
        place[name] = made[name]
    for name, function in _MATH.items():
        setattr(math, name, _in_torch(getattr(math, name), function))
    try:
        yield
    finally:
        for place, name in added:
            place.pop(name, None)
        for name in _MATH:
            setattr(math, name, getattr(math, name).__wrapped__)


# Of these, torch gives what Python does to the last bit.
_MATH = {"sqrt": torch.sqrt, "fabs": torch.abs, "isnan": torch.isnan, "isinf": torch.isinf, "isfinite": torch.isfinite}


def _in_torch(plain: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(number: Any) -> Any:
        if type(number) is not Float:
            return plain(number)
        value, tensor = plain(number.value), function(number.tensor)
        return bool(tensor) if type(value) is bool else number.watch.number(value, tensor)

    return call
