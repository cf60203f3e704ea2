"""Tensors that were written into are named as the user knows them, with what happened to them."""

import re

import torch
from torch import Tensor, nn

from fxsolve.capture.effects.mutations import effects_of
from fxsolve.runtime.changed import Changed, describe_changed
from fxsolve.runtime.gradients import Original
from tests.runtime.building import recorded, recurrence, wanted

SHARED = torch.zeros(2)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2).double()
        self.kept = torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        return recurrence(self.linear(x) + self.kept + SHARED)


def named(tensor: Tensor, place: int | str, count: int = 1) -> str:
    model, x = Model(), wanted(6, 2)
    model.kept = tensor if place == "kept" else model.kept
    model.linear.bias = tensor if place == "linear.bias" else model.linear.bias  # pyright: ignore
    effects = effects_of(recorded(model, x))
    version = tensor._version
    with torch.no_grad():
        tensor.add_(1)
    changed = [Changed(place if isinstance(place, int) else "constant_0", tensor, version)] * count
    if place == "linear.bias":
        changed = [one._replace(place="linear_bias") for one in changed]
    return describe_changed(changed, effects, 1, Original(model, (x,), {}))


def test_an_argument_is_known_by_its_number() -> None:
    text = named(wanted(6, 2), 0)
    assert re.fullmatch(r"input 0 \(float64\[6, 2\], version 0 in the forward pass, 1 now\)", text), text


def test_a_parameter_is_known_by_its_name_in_the_program() -> None:
    text = named(nn.Parameter(torch.zeros(2, dtype=torch.float64)), "linear.bias")
    assert text.startswith("linear_bias (float64[2], version")


def test_another_attribute_is_known_by_where_it_is_kept() -> None:
    assert named(torch.zeros(2), "kept").startswith("Model.kept (float32[2], version 0 in the forward pass, 1 now)")


def test_a_global_is_known_by_its_name() -> None:
    assert named(SHARED, "SHARED").startswith("SHARED (float32[2]")


def test_of_many_the_first_are_named_and_the_others_counted() -> None:
    text = named(wanted(6, 2), 0, count=11)
    assert text.count("input 0") == 8
    assert text.endswith(" and 3 more")
