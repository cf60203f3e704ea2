"""The chain of layers x time of a recurrent network, backwards: its depth in products is a logarithm of its length.

Naumov 2017 (arXiv 1712.06577), section 4: O(log k log T) for k layers and T steps; back-propagation needs O(k + T).
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import fxsolve

pytestmark = pytest.mark.usefixtures("doubles")
LAYERS = 2


class Recurrent(nn.Module):
    """Two layers of a recurrent network, one step of both after the other."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.RNNCell(size, size) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        states = [torch.zeros_like(x[0]) for _ in self.cells]
        for given in x:
            for k, cell in enumerate(self.cells):
                states[k] = given = cell(given, states[k])
        return states[-1]


class Depth(TorchDispatchMode):
    """The most products of which each reads the one before it; tensors that share memory count as one."""

    PRODUCTS = frozenset({"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::mv", "aten::addmv"})

    def __init__(self) -> None:
        super().__init__()
        self.depth: dict[int, int] = {}
        self.alive: list[Tensor] = []  # memory that is given back would be taken for that of others

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        depth = max((self.depth.get(one, 0) for one in self._memory((args, kwargs))), default=0)
        depth += func.name().partition(".")[0] in self.PRODUCTS
        for one in self._memory(made):
            self.depth[one] = max(depth, self.depth.get(one, 0))
        return made

    def _memory(self, value: Any) -> list[int]:
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        self.alive += tensors
        return [one.untyped_storage().data_ptr() for one in tensors]


def depth_of_backward(program: Any, net: nn.Module, x: Tensor) -> tuple[int, tuple[Tensor, ...]]:
    y = program(x).square().sum()
    with Depth() as seen:
        gradients = torch.autograd.grad(y, [x, *net.parameters()])
    return max(seen.depth.values()), gradients


@pytest.mark.slow
def test_two_layers_backwards_are_as_deep_as_the_logarithm_of_their_steps() -> None:
    net, depths = Recurrent(), {}
    for steps in (32, 64, 128):
        x = torch.randn(steps, 1, 2, requires_grad=True)
        fast = fxsolve.compile(net, schedule="scan", backend="eager")
        fast(x)
        depths[steps], found = depth_of_backward(fast, net, x)
        written, expected = depth_of_backward(net, net, x)
        assert written == steps + LAYERS - 1
        assert all(
            torch.allclose(one, other, rtol=1e-10, atol=1e-12) for one, other in zip(found, expected, strict=True)
        )
        assert [run.method for run in fast.report().runs if run.length == steps - 2] == ["scan", "jacobi"]
    assert [depths[steps] - depths[32] for steps in depths] == [0, 1, 2]
    assert depths[128] <= (1 + math.log2(LAYERS)) * math.log2(128)
