"""The specs of calls, from those of their arguments: a call is made once, on tensors without values."""

import operator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.meta import META, empty_like_spec, on_meta
from fxsolve.ir.nested import Nested
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class _Form:
    """A call with specs in the place of tensors; equal where these, and all numbers to their types, are."""

    target: Any
    text: str
    arguments: Any = field(compare=False)


def infer_spec(call: fx.Node) -> Any:
    """The spec of the result of `call`, a tuple of them for several, and None for what is no tensor.

    A number that changes with the step, whose spec is None, counts as 0, an entry of every dimension. Raises
    `PartitionError` where the call cannot be made.
    """
    if isinstance(call.target, Nested):
        return call.target.specs
    arguments: Any = fx.map_arg((call.args, call.kwargs), lambda node: _or_zero(node.meta["spec"]))
    if call.target is operator.getitem:
        source, number = arguments[0]
        return source[number]
    return _inferred(_Form(call.target, repr(arguments), arguments))


def is_known(call: fx.Node) -> bool:
    """Whether the specs of all arguments of a call are known."""
    return all("spec" in node.meta for node in call.all_input_nodes)


def _or_zero(spec: Any) -> Any:
    return 0 if spec is None else spec


@lru_cache(maxsize=4096)
def _inferred(form: _Form) -> Any:
    args, kwargs = pytree.tree_map(_example, form.arguments, is_leaf=_is_spec)
    specs = filter(_is_spec, pytree.tree_leaves(form.arguments, is_leaf=_is_spec))
    device = next((spec.device for spec in specs), form.arguments[1].get("device", META))
    try:
        with torch.no_grad():
            result = form.target(*args, **on_meta(kwargs))
    except Exception as error:  # kernels raise many types
        raise PartitionError(f"{form.target} cannot be called: {str(error).splitlines()[0]}") from error
    return _described(result, torch.device(device))


def _is_spec(value: Any) -> bool:
    return isinstance(value, TensorSpec)


def _example(value: Any) -> Any:
    return empty_like_spec(value) if _is_spec(value) else value


def _described(result: Any, device: torch.device) -> Any:
    if isinstance(result, Tensor):
        return spec_of(result, device)
    return tuple(_described(one, device) for one in result) if isinstance(result, (tuple, list)) else None
