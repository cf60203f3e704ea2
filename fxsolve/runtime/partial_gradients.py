"""Gradients where only some results of a compiled program are used, as autograd finds them."""

import torch
from torch import Tensor

from fxsolve.report.difference import within
from fxsolve.runtime.agreement import check_gradients
from fxsolve.runtime.gradients import Derivatives, Differentiable, Gradients, Some, Tensors, present_in


def differentiate_some(function: Differentiable, saved: Tensors, cotangents: Gradients) -> Derivatives | None:
    """The derivatives where some cotangents are None, after `choose`; None if only the original can tell."""
    match function.learned.some[present_in(cotangents)]:
        case "left out":
            return function.differentiate_some(saved, cotangents)
        case "zeros":
            found = function.differentiate(saved, cotangents)
            return found if _is_finite(found) else None
    return None


def choose(function: Differentiable, saved: Tensors, cotangents: Gradients) -> None:
    """For the first time, compare a backward pass without the others with the whole one, which takes zeros for them."""
    present = present_in(cotangents)
    if present not in function.learned.some:
        function.learned.some[present] = _choose(function, saved, cotangents)


def _choose(function: Differentiable, saved: Tensors, cotangents: Gradients) -> Some:
    nothing = function.of_zeros(saved)
    if any(bool((one.nan_to_num(0.0, 0.0, 0.0) != 0).any()) for one in nothing):
        return "original"  # a hook makes something else of zeros
    whole = function.differentiate(saved, cotangents)
    try:
        some = function.differentiate_some(saved, cotangents)
    except Exception:  # whatever it is, the whole pass is there
        return "zeros"
    return "left out" if agree(some, whole) else "zeros"


def agree(some: Derivatives, whole: Derivatives) -> bool:
    """Whether they are equal up to rounding, wherever the derivatives of what is left out are finite."""
    ours, theirs = (tuple(one for one in found.gradients if one is not None) for found in (some, whole))
    known = [torch.isfinite(one) for one in theirs]
    pairs = [(_where(a, where), _where(b, where)) for a, b, where in zip(ours, theirs, known, strict=True)]
    if not pairs:
        return True
    ours, theirs = zip(*pairs, strict=True)
    return within(check_gradients(ours, theirs, 0.0))


def _where(gradient: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, gradient, 0)


def _is_finite(found: Derivatives) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in found.gradients if one is not None)
