"""Sums over the steps are solved at once where their rounding may change, and in order where it may not."""

import pytest
import torch
from torch import Tensor

from fxsolve.capture.bits import same_bits
from fxsolve.plan.decision import Decision
from fxsolve.plan.method import Steps
from fxsolve.plan.methods import scan
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.schedule import parts_of
from fxsolve.stages import capture, emit, partition, schedule

T, N = 60, 6


def gradients(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    leaf = w.detach().requires_grad_()
    h = x.new_zeros(4, N)
    loss = x.new_zeros(())
    for t in range(T):
        h = torch.tanh(h @ leaf + x[t])
        loss = loss + (h**2).mean()
    return torch.autograd.grad(loss, [leaf])


def solve(text: str, dtype: torch.dtype = torch.float32, tolerance: float | None = None) -> tuple[Decision, float]:
    """The decision, and the largest difference from the recorded run relative to the largest entry (0: bitwise)."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).to(dtype) / 2 for shape in ((T, 4, N), (N, N))]
    program = capture(gradients, *inputs)
    parts = partition(program)
    decision = schedule(program, parts, text, "eager", tolerance)
    with torch.no_grad():
        (found,) = emit(program, parts, decision, tolerance).module(*inputs)
    (expected,) = program.example.outputs
    assert found.stride() == expected.stride()
    if same_bits(found, expected):
        return decision, 0.0
    return decision, float((found - expected).abs().max() / expected.abs().max())


def test_the_gradient_of_a_weight_is_one_product() -> None:
    decision, difference = solve("auto")
    (part,) = parts_of(decision.schedule, "loop1_sums")
    assert isinstance(part, Sum)
    assert difference < 1e-5
    (choice,) = [one for one in decision.choices if one.repeat == "loop1_sums"]
    assert choice.chosen.reason == "only the last sum is read: all terms at once, added up in another order"


@pytest.mark.parametrize("text", ["gs(sum(loop1_sums))", "gs(scan(loop1_sums))", "scan(loop1_sums[0:58])"])
def test_a_sum_can_be_asked_for_by_name_the_older_one_too(text: str) -> None:
    decision, difference = solve(text)
    assert "sum(loop1_sums[0:58])" in str(decision.schedule)
    assert difference < 1e-5


def test_in_order_the_sum_is_the_same_bit_for_bit() -> None:
    _, difference = solve("gs")
    assert difference == 0


@pytest.mark.parametrize("method", ["jacobi", "scan"])
def test_under_bitwise_equality_a_method_by_its_name_keeps_the_order_of_sums(method: str) -> None:
    loosely, _ = solve(method)
    assert "sum(loop1_sums[0:58])" in str(loosely.schedule)
    exactly, _ = solve(method, tolerance=0)
    assert parts_of(exactly.schedule, "loop1_sums") == (Steps("loop1_sums", 0, 58),)
    assert f"{method}(loop1[0:58])" in str(exactly.schedule)


def test_bitwise_equality_rules_out_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SCAN_SECONDS", 0.0)  # however little is to be saved, an affine loop is measured
    decision, _ = solve("auto", tolerance=0)
    (part,) = parts_of(decision.schedule, "loop1_sums")
    assert isinstance(part, Steps)
    (choice,) = [one for one in decision.choices if one.repeat == "loop1_sums"]
    assert "bitwise equality is asked for" in [one.reason for one in choice.rejected]
    assert not [one for one in choice.rejected if one.schedule.startswith("scan")]
