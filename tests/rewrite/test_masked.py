"""Writes where a mask is true: those of one value are choices, the same bit for bit; others stay as they are."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.rewrite.recorded.masked import choose_masked

B, N, T = 2, 5, 6
aten = torch.ops.aten


def below(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0.3] = -float("inf")
    return x


def by_a_tensor(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0.3] = x.amax().view(1)
    return x


def rows(x: Tensor) -> Tensor:
    x = x.clone()
    x[x[:, 0] < 0.3] = 0.0
    return x


def many_values(x: Tensor) -> Tensor:
    x = x.clone()
    x[torch.tensor([True, False])] = torch.arange(float(N))[None]
    return x


def added(x: Tensor) -> Tensor:
    return x.index_put((x < 0.3,), torch.tensor(1.0), accumulate=True)


def turned(x: Tensor) -> Tensor:
    x = x.clone().t()
    x[x < 0.3] = 0.0
    return x


@pytest.mark.parametrize("program", [below, by_a_tensor])
def test_one_value_where_a_mask_is_true_is_a_choice(program: Callable[[Tensor], Tensor]) -> None:
    chosen = choose_masked(fxsolve.capture(program, torch.rand(B, N)).module.graph)
    targets = [node.target for node in chosen.nodes]
    assert aten.where.self in targets
    assert aten.index_put.default not in targets


@pytest.mark.parametrize("program", [rows, many_values, added, turned])
def test_other_writes_by_a_mask_stay(program: Callable[[Tensor], Tensor]) -> None:
    graph = fxsolve.capture(program, torch.rand(B, N)).module.graph
    assert choose_masked(graph) is graph


@pytest.mark.parametrize("program", [below, by_a_tensor, rows, many_values, added, turned])
@torch.no_grad()
def test_what_is_written_is_the_same_bit_for_bit(program: Callable[[Tensor], Tensor]) -> None:
    def loop(x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(program(x_t)) for x_t in x])

    fast = fxsolve.compile(loop, backend="eager", schedule="gs")
    for _ in range(2):
        x = torch.rand(T, B, N)
        assert torch.equal(fast(x), loop(x))


@torch.no_grad()
def test_a_sampler_that_hides_all_but_the_best_is_swept() -> None:
    weight = torch.randn(N, T)

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros(B, T)
        for t in range(1, T):
            logits = x.cumsum(1)[:, t - 1, None] * weight[:, t]
            best, _ = torch.topk(logits, 2)
            logits[logits < best[:, [-1]]] = -float("inf")
            x[:, t] = (logits + noise[t]).argmax(-1).float()
        return x

    fast = fxsolve.compile(sample, backend="eager", schedule="jacobi")
    for _ in range(2):
        noise = torch.randn(T, B, N)
        assert torch.equal(fast(noise), sample(noise))
    assert "jacobi(loop0[" in str(fast.schedule)
