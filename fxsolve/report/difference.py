"""How far two results of one program are apart."""

import math
from typing import Any

import torch
from torch import Tensor

from fxsolve.report.data import Check
from fxsolve.solvers.bitwise import differs
from fxsolve.torch_compat.trees import pytree


def compare(result: Any, expected: Any, tolerance: float) -> Check:
    """max |result - expected| over all leaves of two pytrees, infinite where they cannot be compared.

    NaN equals NaN; leaves that are not tensors are compared with ==.
    """
    leaves, spec = pytree.tree_flatten(result)
    references, wanted = pytree.tree_flatten(expected)
    if spec != wanted:
        return Check(math.inf, bitwise=False, tolerance=tolerance)
    pairs = list(zip(leaves, references, strict=True))
    largest = max((_distance(leaf, reference) for leaf, reference in pairs), default=0.0)
    return Check(largest, largest == 0 and all(_same_bits(*pair) for pair in pairs), tolerance)


def within(check: Check) -> bool:
    """Whether a difference is at most the tolerance."""
    return check.bitwise or check.max_difference <= check.tolerance


def _distance(leaf: Any, reference: Any) -> float:
    if not isinstance(leaf, Tensor) or not isinstance(reference, Tensor):
        return 0.0 if _equal(leaf, reference) else math.inf
    if leaf.shape != reference.shape or leaf.dtype != reference.dtype:
        return math.inf
    leaf, reference = leaf.detach(), reference.detach().to(leaf.device)
    wide = _wide(leaf.dtype)
    # equal infinities would give inf - inf = NaN
    same = (leaf == reference) | ((leaf != leaf) & (reference != reference))
    gaps = torch.where(same, 0.0, (leaf.to(wide) - reference.to(wide)).abs().double())
    return float(torch.nan_to_num(gaps, nan=math.inf, posinf=math.inf).amax()) if gaps.numel() else 0.0


def _wide(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else torch.int64


def _equal(leaf: Any, reference: Any) -> bool:
    return not isinstance(leaf, Tensor) and not isinstance(reference, Tensor) and bool(leaf == reference)


def _same_bits(leaf: Any, reference: Any) -> bool:
    if not isinstance(leaf, Tensor):
        return True
    leaf, reference = leaf.detach().contiguous(), reference.detach().to(leaf.device).contiguous()
    return not bool(differs(leaf, reference))
