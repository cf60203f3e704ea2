"""Ops whose numbers change with the step, as functions of a tensor in the place of each number.

Under `vmap` such a function is run for all steps at once. The numbers come as tensors without dimensions, of integers
or of doubles; results have the type that the op gives for Python numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.access import ConstantFill, Made, SamePlace, Triangle
from fxsolve.ops.call import bind
from fxsolve.ops.facts import access_of, name_of
from fxsolve.torch_compat.operators import OpOverload, schema_of

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class WithTensors:
    """The function for an op; it takes the arguments of the op."""

    target: OpOverload

    @property
    def __name__(self) -> str:
        """What the generated code of a body calls it."""
        return f"{name_of(self.target)}_with_tensors"

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        rule = _rule_of(self.target)
        assert rule is not None
        return rule(bind(self.target, args, kwargs, None).arguments)


def with_tensors(target: Any) -> WithTensors | None:
    """The function for an op, if there is one."""
    return WithTensors(target) if isinstance(target, OpOverload) and _rule_of(target) is not None else None


def _rule_of(target: OpOverload) -> "_Rule | None":
    """The rule of an op, or that of all ops that read entries as it does."""
    name, access = name_of(target), access_of(target)
    if name in _RULES:
        return _RULES[name]
    if isinstance(access, ConstantFill | Made):
        number = next((one for one in ("fill_value", "value") if one in _names(target)), None)
        return partial(_filled_with, number) if number is not None else None
    if isinstance(access, Triangle):
        return partial(_triangle, torch.le if name == "tril" else torch.ge)
    return partial(_both_as_tensors, target) if of_tensors(target) is not None else None


def of_tensors(target: Any) -> OpOverload | None:
    """The overload of a pointwise op of two values, and of options, that takes both values as tensors."""
    if access_of(target) != SamePlace():
        return None
    packet, names = target.overloadpacket, _names(target)
    others: Iterator[OpOverload] = (getattr(packet, name) for name in packet.overloads())
    return next((other for other in others if _names(other) == names and _types(other)[:2] == ["Tensor"] * 2), None)


def _names(target: OpOverload) -> list[str]:
    return [argument.name for argument in schema_of(target).arguments]


def _types(target: OpOverload) -> list[str]:
    return [str(argument.type) for argument in schema_of(target).arguments]


def _both_as_tensors(target: OpOverload, given: Arguments) -> Tensor:
    """The op of two values of which one was a number; where it takes an `alpha`, this is that of the second."""
    names, other = _names(target), of_tensors(target)
    x = given[next(name for name, kind in zip(names, _types(target), strict=True) if kind == "Tensor")]
    assert other is not None
    first, second = (torch.as_tensor(_beside(given[name], x)) for name in names[:2])
    if "alpha" in given:
        second = _times(given["alpha"], second)
    return other(first, second, **{name: given[name] for name in names[2:] if name != "alpha"})


def _beside(number: Any, x: Tensor) -> Any:
    """A number in the type that it takes beside `x`: a float beside integers makes a float, else `x` decides."""
    if not isinstance(number, Tensor):
        return number
    is_wider = number.is_floating_point() and not (x.is_floating_point() or x.is_complex())
    return number.to(torch.get_default_dtype() if is_wider else x.dtype)


def _times(number: Any, x: Tensor) -> Tensor:
    return x * _beside(number, x)


def _filled_with(name: str, given: Arguments) -> Tensor:
    like = given.get("self")
    shape = given["size"] if like is None or "size" in given else like.shape
    return _filled(given[name], like, shape, given.get("dtype"))


def _filled(number: Any, like: Tensor | None, shape: Any, dtype: torch.dtype | None) -> Tensor:
    value = torch.as_tensor(number)
    of_number = torch.get_default_dtype() if value.is_floating_point() else torch.int64
    return value.to(dtype or (of_number if like is None else like.dtype)).expand(tuple(shape))


def _pointwise(function: Callable[..., Tensor], *names: str) -> Callable[[Arguments], Tensor]:
    """A function of the first argument and of numbers, which may be tensors as they are."""

    def rule(given: Arguments) -> Tensor:
        x = next(iter(given.values()))
        return function(x, *(_beside(given[name], x) for name in names))

    return rule


def _clamp(given: Arguments) -> Tensor:
    x, low, high = given["self"], given["min"], given["max"]
    if low is not None:
        x = torch.maximum(x, _beside(low, x)) if isinstance(low, Tensor) else x.clamp_min(low)
    if high is not None:
        x = torch.minimum(x, _beside(high, x)) if isinstance(high, Tensor) else x.clamp_max(high)
    return x


def _softplus(given: Arguments) -> Tensor:
    x = given["self"]
    beta, threshold = (_beside(given[name], x) for name in ("beta", "threshold"))
    return torch.where(x * beta > threshold, x, torch.log1p(torch.exp(x * beta)) / beta)


def _roll(given: Arguments) -> Tensor:
    x, (shift,), (dim,) = given["self"], given["shifts"], given["dims"]
    places = (torch.arange(x.shape[dim], device=x.device) - shift) % x.shape[dim]
    return x.index_select(dim, places)


def _select_scatter(given: Arguments) -> Tensor:
    x, dim = given["self"], given["dim"] % given["self"].dim()
    here = torch.arange(x.shape[dim], device=x.device) == given["index"] % x.shape[dim]
    return torch.where(here.view([-1 if k == dim else 1 for k in range(x.dim())]), given["src"].unsqueeze(dim), x)


def _triangle(compare: Callable[[Tensor, Any], Tensor], given: Arguments) -> Tensor:
    x = given["self"]
    rows, columns = (torch.arange(size, device=x.device) for size in x.shape[-2:])
    return torch.where(compare(columns - rows[:, None], given["diagonal"]), x, torch.zeros_like(x))


_Rule = Callable[[Arguments], Tensor]
_RULES: Mapping[str, _Rule] = {
    "scalar_tensor": lambda given: _filled(given["s"], None, (), given["dtype"] or torch.get_default_dtype()),
    "rsub": lambda given: _beside(given["other"], given["self"]) - _times(given["alpha"], given["self"]),
    "lerp": lambda given: given["self"] + _times(given["weight"], given["end"] - given["self"]),
    "addcmul": lambda given: given["self"] + _times(given["value"], given["tensor1"]) * given["tensor2"],
    "addcdiv": lambda given: given["self"] + _times(given["value"], given["tensor1"]) / given["tensor2"],
    "clamp": _clamp,
    "hardtanh": lambda given: _clamp({"self": given["self"], "min": given["min_val"], "max": given["max_val"]}),
    "leaky_relu": _pointwise(lambda x, slope: torch.where(x > 0, x, x * slope), "negative_slope"),
    "masked_fill": lambda given: torch.where(given["mask"], _beside(given["value"], given["self"]), given["self"]),
    "softplus": _softplus,
    "roll": _roll,
    "select_scatter": _select_scatter,
}
