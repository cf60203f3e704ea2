"""What blocks pick out of the steps of loops is told by name."""

import torch
from torch import Tensor

from fxsolve.ir.picks import picked_steps
from fxsolve.stages import capture, partition


def test_a_read_of_every_step_is_picked_from_one_stack() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(5):
            x = torch.tanh(x)
            if x.sum() > 100:
                break
        return x

    captured = capture(program, torch.ones(3))
    system = partition(captured).system
    picked = picked_steps(system)
    read = system.outputs[-len(captured.guards) :]
    assert [picked[name][1] for name in read] == list(range(5))
    assert len({picked[name][0] for name in read}) == 1
