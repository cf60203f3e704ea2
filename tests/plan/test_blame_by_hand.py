"""The call by which a step comes to read what is not written yet, asked for one step."""

import torch
from torch import Tensor

from fxsolve.lower.batch import batch
from fxsolve.ops.facts import FACTS
from fxsolve.plan.blame import blame
from tests.lower.incremental.steps import sampler

T = 6


def looks_ahead(x: Tensor) -> Tensor:
    buffer = x.clone()
    for t in range(T):
        buffer[t] = torch.tanh(buffer.cumsum(0).flip(0))[t]
    return buffer


@torch.no_grad()
def test_the_call_that_turns_steps_round_is_named_with_its_line() -> None:
    repeat, structural = sampler(looks_ahead, (torch.randn(T),))
    said = blame(repeat, batch(repeat, repeat.length), structural, 1, FACTS, [0])
    assert said.split(" at ")[0] in ("flip", "cumsum")
    assert said.split(" at ")[1].startswith(f"{__file__}:")
