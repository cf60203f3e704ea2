"""One plain run at a new length: what the program gives there, with nothing left behind where it is of no use."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import PartitionError
from fxsolve.runtime.visit import Visit, see
from tests.runtime.building import numbers, recorded, recurrence, wanted


def test_a_visit_gives_what_the_program_gives() -> None:
    with torch.no_grad():
        program = recorded(recurrence, numbers(5, 2))
        x = numbers(9, 2)
        seen = see(Visit(recurrence, (x,), {}), program)
        (output,) = seen.outputs
        assert torch.equal(output, recurrence(x))
        assert seen.inputs == (x,)
        assert seen.cotangents == ()
        assert len(seen.entries) > len(program.stream.entries)


def test_its_gradients_follow_the_outputs() -> None:
    program = recorded(recurrence, wanted(5, 2))
    x = wanted(9, 2)
    output, gradient = see(Visit(recurrence, (x,), {}), program).outputs
    seen = see(Visit(recurrence, (x,), {}), program)
    (expected,) = torch.autograd.grad(recurrence(x), x, seen.cotangents)
    assert torch.equal(gradient, expected)
    assert torch.equal(output, recurrence(x))
    assert x.grad is None


class Model(nn.Module):
    """Changes one thing, or raises, as the call asks for, and then runs its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.latest, self.kept, self.inner = "before", numbers(2), [numbers(3)]

    def forward(self, x: Tensor, action: str = "") -> Tensor:
        match action:
            case "set":
                self.latest = action
            case "write":
                self.kept.add_(1)
            case "write inside":
                self.inner[0].add_(1)
            case "raise":
                self.inner.append(x)
                raise KeyError("missing")
        return recurrence(x)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("set", "the program changes Model.latest"),
        ("write", "aten.add_.Tensor writes into a tensor that outlives the call"),
        ("write inside", "aten.add_.Tensor writes into a tensor that outlives the call"),
        ("raise", "the program raised KeyError"),
    ],
)
@torch.no_grad()
def test_what_a_program_leaves_behind_is_undone_and_told(action: str, reason: str) -> None:
    model = Model()
    program = recorded(model, numbers(5, 2))
    with pytest.raises(PartitionError, match=reason):
        see(Visit(model, (numbers(9, 2), action), {}), program)
    assert model.latest == "before"
    assert torch.equal(model.kept, numbers(2))
    (inner,) = model.inner
    assert torch.equal(inner, numbers(3))


def test_another_structure_of_the_gradients_is_told() -> None:
    program = recorded(recurrence, wanted(5, 2))
    with pytest.raises(PartitionError, match="other results want gradients at this length"):
        see(Visit(recurrence, (numbers(9, 2),), {}), program)

    def detached(x: Tensor, y: Tensor) -> Tensor:
        return recurrence(x) + (y if len(x) < 7 else y.detach())

    program = recorded(detached, wanted(5, 2), wanted(2))
    with pytest.raises(PartitionError, match="other tensors get gradients at this length"):
        see(Visit(detached, (wanted(9, 2), wanted(2)), {}), program)


def test_the_leaves_of_a_visit_are_those_of_its_arguments() -> None:
    x = numbers(2)
    visit: Any = Visit(recurrence, (x, [1, "a"]), {"more": {"k": 2.5}})
    assert visit.leaves[1:] == (1, "a", 2.5)
    assert visit.leaves[0] is x
