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


@pytest.mark.slow
@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_both_passes_of_a_library_are_swept_at_once(source: str) -> None:
    """All layers of a dense block but the first, which reads no list; gradients are those of the library."""
    make = library("timm").create_model if source == "timm" else library("torchvision").models.get_model
    torch.manual_seed(0)
    model, x = make("densenet121").double().eval(), torch.randn(1, 3, 64, 64, requires_grad=True)
    fast = fxsolve.compile(model, backend="eager", schedule="jacobi", tolerance=1e-13)
    fast(x)
    wanted = [x, *model.parameters()]
    found = torch.autograd.grad(fast(x).square().sum(), wanted)
    expected = torch.autograd.grad(model(x).square().sum(), wanted)
    for one, right in zip(found, expected, strict=True):
        assert torch.allclose(one, right, rtol=1e-10, atol=1e-10 * float(right.abs().max()))
    report = fast.report()
    assert report.status == "emitted"
    backward = [run for run in report.runs if "_backward" in run.loop]
    assert [run.length for run in backward] == [16, 24, 12, 6]
    assert all(run.sweeps <= run.length and run.status != "finished sequentially" for run in backward)
    together = [note for note in report.notes if "_backward" in note and "are swept at once" in note]
    assert [int(note.partition(" ")[0]) for note in together] == [15, 23, 11, 5]
