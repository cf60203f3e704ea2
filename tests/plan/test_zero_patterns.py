"""Masks are seen wherever zeros and large negative numbers come from, and whatever they pass through."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.plan.test_causality import B, D, Sampler, assert_right_and, found_of

Net = Callable[[nn.Module, Tensor], Tensor]

STRICT = torch.ones(D, D).triu(1)  # from place i to the later places j
HIDDEN = torch.ones(D, D).triu(1).bool()  # the keys j that a query i may not see


class Weighted(nn.Module):
    """A function of two trained weights and a canvas (B, D)."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        self.w, self.v = (nn.Parameter(torch.randn(D, D) / 2) for _ in range(2))
        self.e, self.k = (nn.Parameter(torch.randn(4)) for _ in range(2))
        self.register_buffer("strict", STRICT.clone())
        self.register_buffer("hidden", HIDDEN.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self, x)


def scores(m: nn.Module, x: Tensor) -> Tensor:
    h = x[..., None] * m.e
    return h * m.k @ h.mT


def attention(masked: Net) -> Net:
    """Each place gets what the place before it attended to."""

    def net(m: nn.Module, x: Tensor) -> Tensor:
        seen = (masked(m, x).softmax(-1) @ (x[..., None] * m.e)).sum(-1)
        return F.pad(seen, (1, 0))[:, :-1]

    return net


MASKS: dict[str, Net] = {
    "weight times mask": lambda m, x: x @ (m.w * m.strict),
    "bool mask": lambda m, x: x @ (m.w * (m.strict > 0)),
    "where": lambda m, x: x @ torch.where(m.strict > 0, m.w, 0.0),
    "masked_fill": lambda m, x: x @ m.w.masked_fill(m.strict == 0, 0.0),
    "triangle": lambda m, x: x @ torch.triu(m.w, 1),
    "two masks": lambda m, x: x @ (m.w * torch.ones(D, D).triu() * (1 - torch.eye(D))),
    "product of masks": lambda m, x: x @ ((m.w * torch.ones(D, D).triu()) @ (m.v * m.strict)),
    "mask made of places": lambda m, x: x @ (m.w * (torch.arange(D)[:, None] < torch.arange(D))),
    "mask in the form of a weight": lambda m, x: x @ (m.w * torch.ones_like(m.w).triu(1)),
    "mask and its inverse": lambda m, x: x @ (m.w * torch.logical_and(m.strict > 0, ~(m.strict == 0))),
    "one-hot places": lambda m, x: x @ F.one_hot(torch.arange(1, D + 1) % (D + 1), D + 1)[:, :D].float(),
    "einsum": lambda m, x: torch.einsum("bi,ij,ij->bj", x, m.w, m.strict),
    "masked sums": lambda m, x: (x[:, None] * m.strict.mT).sum(-1) / m.strict.mT.sum(-1).clamp(min=1),
    "mask behind a function": lambda m, x: F.relu(x[:, None] * m.w.mT * m.strict.mT).sum(-1),
    "scaled by what is read": lambda m, x: x @ (m.w * m.strict) * m.v.mean() / (1 + m.k.abs().sum()),
    "softmax of -inf": attention(lambda m, x: scores(m, x).masked_fill(m.hidden, -torch.inf)),
    "softmax where": attention(lambda m, x: torch.where(m.hidden, -torch.inf, scores(m, x))),
    "the least number": attention(lambda m, x: scores(m, x).masked_fill(m.hidden, torch.finfo(x.dtype).min)),
    "added": attention(lambda m, x: scores(m, x) + torch.full((D, D), -torch.inf).triu(1)),
    "added in the form of scores": attention(
        lambda m, x: scores(m, x) + torch.zeros_like(scores(m, x)).masked_fill(m.hidden, -torch.inf)
    ),
    "logarithm of a mask": attention(lambda m, x: scores(m, x) + (~m.hidden).float().log()),
    "subtracted": attention(lambda m, x: scores(m, x) - 1e9 * m.hidden),
    "multiplied and subtracted": attention(
        lambda m, x: scores(m, x) * (~m.hidden).float() - 1e10 * (1 - (~m.hidden).float())
    ),
}
NO_MASKS: dict[str, Net] = {
    "a mask to the left": lambda m, x: x @ (m.w * m.strict.mT),
    "added to a mask": lambda m, x: x @ (m.w * m.strict + m.v),
    "a mask that is filled again": lambda m, x: x @ (m.w * m.strict).masked_fill(m.strict == 0, 0.5),
    "a function that is not 0 at 0": lambda m, x: x @ torch.cos(m.w * m.strict),
    "a mask of weights": lambda m, x: x @ (m.w * (m.v > 100)),
    "a mask of what is read": lambda m, x: (x[:, None] * (x[:, :, None] > 100)).sum(-1),
    "a small number subtracted": attention(lambda m, x: scores(m, x) - 5.0 * m.hidden),
    "added large numbers": attention(lambda m, x: scores(m, x) + 1e9 * m.hidden),
    "a softmax behind which zeros come": lambda m, x: (scores(m, x).softmax(-1) * m.strict.mT).sum(-1),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_seen(name: str) -> None:
    torch.manual_seed(0)
    program = Sampler(Weighted(MASKS[name]))
    assert found_of(program) == "proved"
    assert_right_and("jacobi", program, "jacobi")


@pytest.mark.parametrize("name", NO_MASKS)
def test_what_hides_nothing_is_no_mask(name: str) -> None:
    torch.manual_seed(0)
    program = Sampler(Weighted(NO_MASKS[name]))
    assert "may read what step" in found_of(program)
    assert_right_and("gauss_seidel", program, "jacobi")


def test_an_op_on_an_input_beside_a_mask_hides_nothing_of_it() -> None:
    """Both stand in one block in front of the loop; what is known is asked of each call of it."""
    weight = nn.Parameter(torch.randn(D, D))

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, noise: Tensor) -> Tensor:
            x, scale = torch.zeros_like(noise), noise.abs().mean() + self.weight.std()
            masked = self.weight * scale * torch.ones_like(self.weight).triu(1)
            for i in range(D):
                x[:, i] = torch.tanh((x @ masked)[:, i] + noise[:, i] / scale)
            return x

    assert found_of(Scaled(), torch.randn(B, D)) == "proved"
    assert_right_and("jacobi", Scaled(), "jacobi")
