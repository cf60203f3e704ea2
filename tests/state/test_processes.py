"""What communicates with other processes by itself is known by its class, and so are those that only wrap."""

import pytest
import torch
from torch import Tensor, nn

from fxsolve.state.processes import communicates, communicating_part, in_group
from fxsolve.state.reach import find_reach, walk

Sharded = type("Sharded", (nn.Module,), {"__module__": "torch.distributed.somewhere", "forward": lambda self, x: x})
Spread = type("Spread", (Tensor,), {"__module__": "torch.distributed.tensor"})
Wrapper = type("Wrapper", (nn.Module,), {"__module__": "torch.distributed.algorithms.somewhere"})


Own = type("Own", (Sharded,), {"__module__": "users"})


@pytest.mark.parametrize(("kind", "name"), [(Sharded, "Sharded"), (Spread, "Spread"), (Own, "Sharded")])
def test_classes_of_the_package_communicate_and_those_made_of_them(kind: type, name: str) -> None:
    found = communicates(kind.__new__(kind), "encoder")
    assert found.startswith(f"encoder is a {name}, ")
    assert found.endswith("compile the parts of the program that do not communicate.")


@pytest.mark.parametrize("kind", [nn.Linear, Tensor, nn.Parameter, Wrapper, int])
def test_others_do_not(kind: type) -> None:
    assert communicates(kind.__new__(kind), "x") == ""


def test_the_part_of_a_program_is_named() -> None:
    plain = find_reach(nn.Sequential(nn.Linear(2, 2)))
    assert communicating_part(plain, walk(plain)) == ""
    mixed = find_reach(nn.Sequential(nn.Linear(2, 2), Sharded()))
    assert communicating_part(mixed, walk(mixed)).startswith("1 is a Sharded, ")
    alone = find_reach(Sharded())
    assert communicating_part(alone, walk(alone)).startswith("the program is a Sharded, ")
    spread = nn.Linear(2, 2)
    spread.register_buffer("table", torch.zeros(2).as_subclass(Spread))
    reach = find_reach(spread)
    assert communicating_part(reach, walk(reach)).startswith("table is a Spread, ")


def test_a_process_on_its_own_is_in_no_group() -> None:
    assert not in_group()
