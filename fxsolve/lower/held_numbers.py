"""Numbers beside tensors in a step, held as tensors: of a number, every call makes one, which takes as long as the op.

y = x * 0.1   ->   number_0_1 = self.number_0_1; y = x * number_0_1
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.readable import readable_target

# Their kernels know a number only as a tensor of the type that they compute in.
_OF_TWO = frozenset(
    {torch.add, torch.sub, torch.mul, torch.div, torch.rsub}
    | {torch.lt, torch.le, torch.gt, torch.ge, torch.eq, torch.ne}
)
_DTYPES = (torch.float32, torch.float64)  # a narrower one computes in float32, with the number as it is
_LARGEST = 2.0**24  # integers up to here are themselves in either type


def hold_numbers(step: fx.GraphModule) -> fx.GraphModule:
    """The step, of which calls of a tensor on the CPU and a number read the number as a tensor, to the same bits."""
    held: dict[str, fx.Node] = {}
    for node in list(step.graph.nodes):
        dtype = _dtype_for(node)
        if dtype is None or not _fits(number := node.args[1], dtype):
            continue
        name = _name_of(number, dtype)
        if name not in held:
            setattr(step, name, _tensor_of(number, dtype))  # no buffer of the module: to read one takes half an op
            with step.graph.inserting_before(node):
                held[name] = step.graph.create_node("get_attr", name)
        node.args = (node.args[0], held[name])
    step.recompile()
    return step


def held_table(numbers: Sequence[int | float], users: Iterable[fx.Node]) -> Tensor | None:
    """Numbers that change with the step as a tensor (T,), if all that reads them takes one for them; else None."""
    dtypes = {_dtype_for(user) for user in users}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    if dtype is None or not all(_fits(number, dtype) for number in numbers):
        return None
    return _tensor_of(numbers, dtype)


def _dtype_for(node: fx.Node) -> torch.dtype | None:
    """The type in which a call of a tensor and a number computes, if a tensor may stand for the number."""
    if len(node.args) != 2 or node.kwargs or readable_target(node.target) not in _OF_TWO:
        return None
    x, number = node.args
    spec = x.meta.get("spec") if isinstance(x, fx.Node) else None
    if not isinstance(spec, TensorSpec) or spec.device.type != "cpu" or spec.dtype not in _DTYPES:
        return None
    if isinstance(number, fx.Node) and number.meta.get("spec") is not None:
        return None  # a tensor
    python = spec.shape == () and spec.dtype == torch.float64  # which computes with these, where a loop stops on them
    return None if python else spec.dtype


def _fits(number: Any, dtype: torch.dtype) -> bool:
    """Whether a number is one of its kind in a type: neither too large, nor one of another kind."""
    if type(number) is int:
        return abs(number) <= _LARGEST
    return type(number) is float and (not abs(number) < float("inf") or abs(number) <= torch.finfo(dtype).max)


def _tensor_of(numbers: float | Sequence[float], dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # autograd may want to keep it
        return torch.tensor(numbers, dtype=dtype, device="cpu")


def _name_of(number: float, dtype: torch.dtype) -> str:
    """An attribute's name that tells the number, in which a minus is an m and a point an underscore."""
    told = re.sub(r"\W", "_", repr(number).replace("-", "m").replace("+", ""))
    return f"number_{told}" if dtype == torch.float32 else f"double_{told}"
