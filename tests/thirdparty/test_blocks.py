"""Equation blocks of DenseNets as libraries define them: those of the same wiring written by hand, name by name."""

import pytest
import torch

import fxsolve
from tests.goldens import GOLDEN
from tests.rewrite.test_split_blocks import blocks_text
from tests.thirdparty.checking import library


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("timm", "densenet121"),
        ("torchvision", "densenet121"),
        pytest.param("timm", "densenet201", marks=pytest.mark.slow),
        pytest.param("torchvision", "densenet201", marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_the_blocks_are_the_layers_of_the_definition(source: str, name: str) -> None:
    make = library("timm").create_model if source == "timm" else library("torchvision").models.get_model
    program = fxsolve.capture(make(name).eval(), torch.randn(1, 3, 32, 32))
    assert blocks_text(fxsolve.partition(program).system) == (GOLDEN / f"blocks/{name}.txt").read_text()
