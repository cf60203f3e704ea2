"""Fused attention in a step: all steps at once give what one step after another gives, in one call of the kernel."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fxsolve
from fxsolve.lower.batch import batch
from fxsolve.stages import capture, partition

T, N, H, L = 4, 2, 3, 5  # vectors are as long as sequences, so that they are masks as well
KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

Body = Callable[[Tensor, Tensor], Tensor]


def weighed(heads: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(heads, heads * 0.5, heads + 1, attn_mask=mask)


BODIES: dict[str, Body] = {
    "all in the step": lambda x, fixed: F.scaled_dot_product_attention(x, x * 0.5, x + 1),
    "causal": lambda x, fixed: F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.3),
    "shared keys": lambda x, fixed: F.scaled_dot_product_attention(x, fixed, fixed),
    "shared queries": lambda x, fixed: F.scaled_dot_product_attention(fixed, fixed, x),
    "a shared mask": lambda x, fixed: weighed(x, fixed[0, 0]),
    "a shared mask for each sample": lambda x, fixed: weighed(x, fixed[:, :1]),
    "a mask of the step": lambda x, fixed: weighed(x, x[0, 0]),
    "a mask of the step for each head": lambda x, fixed: weighed(fixed, x[:1]),
    "a mask of the step for each sample": lambda x, fixed: weighed(x, x[:, :1]),
}


@pytest.mark.parametrize("name", BODIES)
@torch.no_grad()
def test_all_steps_at_once_are_each_step_alone(name: str) -> None:
    def program(x: Tensor, fixed: Tensor) -> Tensor:
        return torch.stack([2 * BODIES[name](-x_t.abs(), fixed) for x_t in x])

    def inputs() -> tuple[Tensor, Tensor]:
        return torch.randn(T, N, H, L, L).double(), torch.randn(N, H, L, L).double()

    (repeat,) = partition(capture(program, *inputs())).system.repeats
    assert len(batch(repeat, T).graph.find_nodes(op="call_function", target=KERNEL)) == 1
    fast = fxsolve.compile(program, backend="eager", schedule="jacobi")
    for _ in range(2):
        x, fixed = inputs()
        # products of small matrices round as they lie in memory
        torch.testing.assert_close(fast(x, fixed), program(x, fixed), rtol=1e-13, atol=1e-13)
    assert "jacobi(loop0[" in str(fast.schedule)
