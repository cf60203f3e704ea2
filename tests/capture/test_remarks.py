"""Names that a program gives the profiler, as every optimizer of torch does, are no part of its record."""

import torch
from torch import Tensor, nn

import fxsolve


def test_a_named_region_in_a_loop_is_not_recorded():
    layer = nn.Linear(3, 3)

    def named(x: Tensor) -> Tensor:
        for _ in range(6):
            with torch.profiler.record_function("step"):
                x = torch.tanh(layer(x))
        return x

    compiled = fxsolve.compile(named, schedule="gs", backend="eager")
    with torch.no_grad():
        for _ in range(2):
            x = torch.randn(2, 3)
            assert torch.equal(compiled(x), named(x))
    assert compiled.report().status == "emitted"


def test_an_optimizer_in_a_loop_is_recorded():
    def fit(x: Tensor, y: Tensor) -> Tensor:
        weight = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.05)
        with torch.enable_grad():
            for _ in range(8):
                optimizer.zero_grad()
                (x @ weight - y).square().mean().backward()
                optimizer.step()
        return weight.detach()

    compiled = fxsolve.compile(fit, schedule="gs", backend="eager")
    with torch.no_grad():
        for _ in range(2):
            x, y = torch.randn(8, 3), torch.randn(8)
            assert torch.equal(compiled(x, y), fit(x, y))
    assert compiled.report().status == "emitted"
