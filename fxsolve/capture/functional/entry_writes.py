"""Writes that change each entry of a tensor by itself, and the ops that give what they leave there.

Such a write is replayed without the rules of its op: functionalization runs those of both its forms, many of them in
Python, and the first of them imports the compiler.
"""

from collections.abc import Iterable
from itertools import accumulate
from operator import mul

import torch
from torch import fx

from fxsolve.ir.strides import is_dense
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.torch_compat.operators import OpOverload, once_each, operator_name_of, overload_name_of, schema_of


def without_write(call: fx.Node) -> OpOverload | None:
    """The op that gives what a call leaves in its first argument, in the same dtype and order in memory."""
    spec, given = call.meta.get("spec"), [one.meta["spec"] for one in call.all_input_nodes]
    form = form_without_write(call.target) if isinstance(call.target, OpOverload) else None
    if form is None or not isinstance(spec, TensorSpec) or any(one.dtype != spec.dtype for one in given):
        return None
    # What has gaps in memory is scattered, in whatever order it is computed.
    return form if not is_dense(spec) or _keeps_order(spec, given) else None


@once_each
def form_without_write(target: OpOverload) -> OpOverload | None:
    """The op that computes, of tensors of one dtype and in this dtype, what one leaves in its first argument."""
    name = operator_name_of(target)
    if torch.Tag.pointwise not in target.tags or not name.endswith("_") or name.startswith(_OTHERS):
        return None
    form = getattr(getattr(torch.ops.aten, name[:-1], None), overload_name_of(target), None)
    return form if isinstance(form, OpOverload) and _arguments(form) == _arguments(target) else None


# These give booleans for other dtypes (as comparisons, whose writes are not tagged as pointwise), or add up in between.
_OTHERS = ("logical_", "mvlgamma_")


def _arguments(target: OpOverload) -> list[tuple[str, str]]:
    return [(one.name, str(one.type)) for one in schema_of(target).arguments]


def _keeps_order(spec: TensorSpec, given: Iterable[TensorSpec]) -> bool:
    """Whether results have the strides of the first argument, which decides for dimensions longer than 1."""
    return 1 not in spec.shape or (_is_natural(spec) and all(one == spec for one in given))


def _is_natural(spec: TensorSpec) -> bool:
    """Whether these are the strides of a new tensor, those of dimensions of 1 included."""
    natural = accumulate(reversed(spec.shape[1:]), mul, initial=1)
    return spec.stride[::-1] == tuple(natural)
