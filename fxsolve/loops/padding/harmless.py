"""Which values on buffers have entries that are not valid and yet do no harm where they are multiplied by zero.

A buffer of integers, such as tokens, begins with zeros and has what steps wrote, each of which may be looked up; of
what is looked up a network makes finite numbers, as it does of valid tokens. So does it of the copy of a canvas, in
order; sweeps that come to numbers that are not finite are not used. What is harmless needs no mask in front of a sum in
which it has the weight zero; a mask that changes with the step would make every later value another one in each step.
"""

from math import isfinite

import torch
from torch import fx

from fxsolve.loops.padding.values import PaddedValue, Padder
from fxsolve.ops import access
from fxsolve.ops.call import Call
from fxsolve.torch_compat.trees import pytree


def makes_harmless(p: Padder, call: Call) -> bool:
    """Whether the results of a call are harmless; it is one that has a padding rule."""
    leaves = pytree.tree_leaves(call.arguments)
    values = [p.value(leaf) for leaf in leaves if isinstance(leaf, fx.Node)]
    if isinstance(call.fact.access, access.LookUp):
        return True  # its index is, or it has been masked
    if p.call in p.copies:
        return True
    if isinstance(call.fact.access, access.Cut) and _leaves_valid_behind(p, call):
        return False
    are_finite = all(isfinite(leaf) for leaf in leaves if isinstance(leaf, float))
    return are_finite and all(value.harmless for value in values) and _keeps_harmless(call, values)


def _keeps_harmless(call: Call, values: list[PaddedValue]) -> bool:
    """Whether a call gives harmless results of harmless arguments.

    A value that does not grow may be infinite, but where it takes part in entries that are not valid, it does so in
    valid ones as well, unless only some of its own entries, or only some places of the result, are meant.
    """
    match call.fact.access:
        case access.Attention():
            return call["attn_mask"] is None  # where a mask hides all there is, the result is NaN
        case access.Cut() | access.Parts():
            return values[0].grows and _keeps_type(call, values)
        case access.Chosen():
            return _is_floating(call) and all(value.grows or not _is_number(value) for value in values)
        case access.SamePlace():
            return call.fact.finite and _is_floating(call)
        case access.Product() | access.LayerNorm() | access.Softmax() | access.Made() | access.ConstantFill():
            return True
        case access.Convolution():
            return True
        case access.Rearranged():
            return _is_floating(call)
        case access.SameEntries() | access.Reshaped() | access.Permuted() | access.Expanded() | access.Joined():
            return _keeps_type(call, values)
    return False


def _leaves_valid_behind(p: Padder, call: Call) -> bool:
    """Whether numbers behind the end of a range are valid ones of its argument, which need not be finite."""
    x = p.value(call["self"])
    if "step" not in call.arguments or not _is_floating(call):
        return False
    dim = call["dim"] % len(x.dims)
    size = p.valid(x.dims[dim])
    return p.result_dims()[dim] != x.dims[dim] and slice(call["start"], call["end"]).indices(size)[1] < size


def _keeps_type(call: Call, values: list[PaddedValue]) -> bool:
    """Whether integers of a result, which may be looked up, were integers before."""
    return _is_floating(call) or not any(value.node.meta["spec"].dtype.is_floating_point for value in values)


def _is_number(value: PaddedValue) -> bool:
    return value.node.meta["spec"].dtype != torch.bool


def _is_floating(call: Call) -> bool:
    """Whether the results are floating-point numbers."""
    specs = [call.example] if hasattr(call.example, "dtype") else call.example
    return all(spec.dtype.is_floating_point for spec in specs if spec is not None)
