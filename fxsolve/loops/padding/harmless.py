"""Which values on buffers have entries that are not valid and yet do no harm where they are multiplied by zero.

A buffer of integers, such as tokens, begins with what the program looks up too (`widened`), and has what steps wrote;
of what is looked up a network makes finite numbers, as it does of valid tokens. A buffer of numbers begins with zeros,
and steps in order find nothing else there; sweeps that come to numbers that are not finite are not used. What is
harmless needs no mask in front of a sum in which it has the weight zero; a mask that changes with the step would make
every later value another one in each step.
"""

from math import inf, isfinite

import torch
from torch import fx

from fxsolve.loops.growing.sizes import AffineSize
from fxsolve.loops.padding.finite import keeps_from_zero, makes_finite, sums_up
from fxsolve.loops.padding.triangles import is_causal
from fxsolve.loops.padding.values import PaddedValue, Padder, growing_factor
from fxsolve.ops import access
from fxsolve.ops.call import Call


def makes_harmless(p: Padder, call: Call, above: float | None = None) -> bool:
    """Whether the results of a call are harmless; it is one that has a padding rule.

    Of what is low `above` the diagonal, all other entries are meant.
    """
    leaves = call.leaves
    values = [p.value(leaf) for leaf in leaves if isinstance(leaf, fx.Node)]
    if isinstance(call.fact.access, access.LookUp):
        return True  # its index is, or it has been masked
    if p.call in p.copies:
        return True
    if above is not None and getattr(call.example, "dtype", None) == torch.bool:
        return True
    if above == -inf:
        return all(value.harmless for value in values if _is_number(value) and value.node not in p.known)
    if isinstance(call.fact.access, access.Attention) and call["attn_mask"] is not None:
        # where a mask hides all there is, the result is NaN
        values = [p.value(call[name]) for name in ("query", "key", "value")]
        return is_causal(p, call["attn_mask"]) and all(value.harmless for value in values)
    if above is None and any(value.above == -inf for value in values):
        return False
    if isinstance(call.fact.access, access.Cut) and "step" in call.arguments:
        if _reads_attribute(p, call):
            return True
        if _leaves_valid_behind(p, call):
            return False
    are_finite = all(isfinite(leaf) for leaf in leaves if isinstance(leaf, float))
    return are_finite and all(value.harmless for value in values) and _keeps_harmless(p, call, values)


def _keeps_harmless(p: Padder, call: Call, values: list[PaddedValue]) -> bool:
    """Whether a call gives harmless results of harmless arguments.

    A value that does not grow may be infinite, but where it takes part in entries that are not valid, it does so in
    valid ones as well, unless only some of its own entries, or only some places of the result, are meant.
    """
    match call.fact.access:
        case access.Attention():
            return True
        case access.Cut() | access.Parts():
            return values[0].grows and _keeps_type(call, values)
        case access.Chosen():
            return _is_floating(call) and all(value.grows or not _is_number(value) for value in values)
        case access.SamePlace():
            return makes_finite(call) and _is_floating(call)
        case access.Reduced():
            return sums_up(call) and _is_floating(call) and _keeps_what_grows(p, call)
        case access.LayerNorm():
            return keeps_from_zero(call)
        case access.Product() | access.Softmax() | access.Made() | access.ConstantFill():
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
    if not _is_floating(call):
        return False
    dim = call["dim"] % len(x.dims)
    size, made = p.valid(x.dims[dim]), p.result_dims()[dim]
    return (
        growing_factor(made) is not None
        and made != x.dims[dim]
        and slice(call["start"], call["end"]).indices(size)[1] < size
    )


def _reads_attribute(p: Padder, call: Call) -> bool:
    """Whether a range that grows is cut out of a parameter or constant, as places are, of which later steps read more.

    Like the rows of a table that is looked up, these are numbers with which the network computes.
    """
    x = call["self"]
    if x.op != "get_attr":
        return False
    known = p.attributes.values.get(str(x.target))
    return x.target in p.attributes.parameters or (known is not None and bool(known.isfinite().all()))


def _keeps_what_grows(p: Padder, call: Call) -> bool:
    """Whether a reduction goes along dimensions that do not grow."""
    growing = sum(isinstance(factor, AffineSize) for dim in p.value(call.first).dims for factor in dim)
    return all(sum(size.slope != 0 for size in sizes or ()) == growing for sizes in p.sizes)


def _keeps_type(call: Call, values: list[PaddedValue]) -> bool:
    """Whether integers of a result, which may be looked up, were integers before."""
    return _is_floating(call) or not any(value.node.meta["spec"].dtype.is_floating_point for value in values)


def _is_number(value: PaddedValue) -> bool:
    return value.node.meta["spec"].dtype != torch.bool


def _is_floating(call: Call) -> bool:
    """Whether the results are floating-point numbers."""
    specs = [call.example] if hasattr(call.example, "dtype") else call.example
    return all(spec.dtype.is_floating_point for spec in specs if spec is not None)
