"""How cotangents lie in memory when the emitted backward pass gets them.

Autograd hands on what it is given, and kernels round by the layout of what they read. So does the emitted pass where
its calls are the program's own: laid out as while recording is only what its calls cannot read otherwise.
"""

from torch import Tensor

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.runtime.gradients import Differentiable, Gradients, Tensors, lay_out
from fxsolve.runtime.partial_gradients import agree


def take(function: Differentiable, saved: Tensors, cotangents: Gradients) -> Gradients:
    """The cotangents, copied where the backward pass wants them to lie as while recording."""
    pairs = list(zip(cotangents, function.cotangents, strict=True))
    if all(one is None or _lies_as(one, spec) for one, spec in pairs):
        return cotangents
    recorded = tuple(None if one is None else lay_out(one, spec) for one, spec in pairs)
    if function.passes.plan.chooses_strides():
        return recorded
    pairs = zip(cotangents, recorded, strict=True)
    own = tuple(copy if one is None or _is_lazy(one) else one for one, copy in pairs)
    layouts, strides = function.learned.layouts, tuple(None if one is None else one.stride() for one in own)
    if strides not in layouts:
        layouts[strides] = _may_be(function, saved, own, recorded)
    return own if layouts[strides] else recorded


def _may_be(function: Differentiable, saved: Tensors, own: Gradients, recorded: Gradients) -> bool:
    """For the first time, compare a backward pass of these with one of copies."""
    whole = function.differentiate(saved, recorded)
    try:
        found = function.differentiate(saved, own)
    except Exception:  # whatever it is, copies will do
        return False
    return agree(found, whole)


def _lies_as(cotangent: Tensor, spec: TensorSpec) -> bool:
    return cotangent.stride() == spec.stride and not _is_lazy(cotangent)


def _is_lazy(cotangent: Tensor) -> bool:
    return cotangent.is_conj() or cotangent.is_neg()
