"""Maps x -> a x + b that a scan applies and composes: entry by entry, or by small matrices.

Both kinds take many maps at once along leading dimensions. Neither calls a float32 or complex64 matrix product, so no
global setting (TF32, bfloat16, autocast) can shorten what a scan computes with.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor


class Maps(ABC):
    """One kind of affine maps; the trailing dimensions of `a` and `b` are its matrices and vectors."""

    @abstractmethod
    def widen(self, values: Tensor) -> Tensor:
        """`values` in the type that the scan computes in."""

    @abstractmethod
    def step(self, a: Tensor, x: Tensor, b: Tensor, out: Tensor) -> Tensor:
        """a x + b, also written into `out`; x, b and `out` are wide, `a` need not be."""

    @abstractmethod
    def compose(self, late: Tensor, early: Tensor) -> Tensor:
        """The linear part of doing `early` first and `late` after it."""

    @abstractmethod
    def reduce(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The composition of the m maps along the first dimension, as one map (a_m ... a_1, b)."""


@final
class Diagonal(Maps):
    """a and b of equal shapes (..., N)."""

    def widen(self, values: Tensor) -> Tensor:
        return values

    def step(self, a: Tensor, x: Tensor, b: Tensor, out: Tensor) -> Tensor:
        return torch.addcmul(b, a, x, out=out)

    def compose(self, late: Tensor, early: Tensor) -> Tensor:
        return late * early

    def reduce(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        rows = b.unbind(0)
        local = rows[0].clone()
        for factor, row in zip(a.unbind(0)[1:], rows[1:], strict=True):
            torch.addcmul(row, factor, local, out=local)
        return a.prod(0), local


@final
class Dense(Maps):
    """a (..., n, n), b (..., n, 1), computed in float64 or complex128 whatever they are held in."""

    def widen(self, values: Tensor) -> Tensor:
        return values.to(torch.complex128 if values.is_complex() else torch.float64)

    def step(self, a: Tensor, x: Tensor, b: Tensor, out: Tensor) -> Tensor:
        if b.dim() == 3:
            return torch.baddbmm(b, self.widen(a), x, out=out)
        n = b.shape[-2]
        flat = torch.baddbmm(b.reshape(-1, n, 1), self.widen(a).reshape(-1, n, n), x.reshape(-1, n, 1))
        out.copy_(flat.view(b.shape))
        return flat.view(b.shape)

    def compose(self, late: Tensor, early: Tensor) -> Tensor:
        return self.widen(late) @ self.widen(early)

    def reduce(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        # The vector rides along as one more column of the product, which saves reading a twice.
        n, shape = b.shape[-2], (*a.shape[1:-1], a.shape[-1] + 1)
        joined = torch.cat((self.widen(a[0]), b[0]), -1).reshape(-1, n, n + 1)
        for factor, row in zip(a.unbind(0)[1:], b.unbind(0)[1:], strict=True):
            joined = torch.bmm(self.widen(factor).reshape(-1, n, n), joined)
            joined[..., n:] += row.reshape(-1, n, 1)
        joined = joined.view(shape)
        return joined[..., :n], joined[..., n:]
