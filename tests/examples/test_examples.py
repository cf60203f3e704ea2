"""The examples: the plain models are right, and the demo runs as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import flow_sampling
import gru_loop
import made_sampling
import training
from digits import binary, dequantiser, grey

ROOT = Path(__file__).resolve().parents[2]


def test_upsampling_keeps_the_range_of_grey_levels() -> None:
    assert grey(8).shape == (1797, 64)
    assert grey(16).shape == (1797, 256)
    assert grey(16).min() >= 0
    assert grey(16).max() <= 16
    assert set(binary(28).unique().tolist()) == {0.0, 1.0}


def test_dequantised_digits_are_standardised() -> None:
    levels = grey(8)
    sample = torch.cat([dequantiser(levels)(levels) for _ in range(8)])
    assert sample.mean(0).abs().max() < 0.05
    assert (sample.std(0) - 1).abs().max() < 0.05


def test_training_lowers_the_loss_and_stops_in_time() -> None:
    model = nn.Linear(64, 64)
    data = grey(8) / 16

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (model(x) - x).square().mean()

    before = loss(data).item()
    assert training.fit(model, loss, data, steps=200, seconds=60.0, title="test") < before / 2
    assert training.fit(model, loss, data, steps=10**9, seconds=0.1, title="test") < before / 2


def test_a_made_output_reads_only_earlier_pixels() -> None:
    model = made_sampling.MADE(12, hidden=(64, 64))
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], torch.rand(12))
    assert isinstance(jacobian, torch.Tensor)
    assert torch.equal(jacobian.triu(), torch.zeros(12, 12))
    assert jacobian.tril(-1).any()


def test_made_samples_are_pixels_and_follow_the_seed() -> None:
    sample = made_sampling.sampler(made_sampling.MADE(made_sampling.PIXELS, hidden=(16,)), 2)
    torch.manual_seed(1)
    first = sample()
    torch.manual_seed(1)
    assert torch.equal(sample(), first)
    assert set(first.unique().tolist()) <= {0.0, 1.0}


def test_the_picture_holds_every_full_row_of_samples(tmp_path: Path) -> None:
    made_sampling.save_picture(torch.rand(20, made_sampling.PIXELS), tmp_path / "new" / "grid.png")
    header = (tmp_path / "new" / "grid.png").read_bytes()[:24]
    assert header[:4] == b"\x89PNG"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (10 * 32 * 2, 2 * 32 * 2)


@pytest.mark.thirdparty
@pytest.mark.parametrize("library", ["zuko", "nflows"])
def test_inverting_a_flow_undoes_it(library: str) -> None:
    sample, invert, z = flow_sampling.programs(library, 8, seconds=0.2)
    x = invert(z)
    assert sample().shape == x.shape == z.shape == (64, 64)
    assert torch.isfinite(x).all()
    torch.manual_seed(1)
    again = invert(z)
    assert torch.equal(again, x)


@pytest.mark.thirdparty
@pytest.mark.parametrize("factory", [flow_sampling.zuko_factory, flow_sampling.nflows_factory])
def test_flow_factories_return_a_program_and_its_inputs(factory) -> None:
    program, inputs = factory(seconds=0.1)
    assert program(*inputs).shape == (64, 64)


def test_the_made_factory_returns_a_program_without_inputs() -> None:
    _, inputs = made_sampling.factory(seconds=0.1)
    assert inputs == ()


def test_the_loop_gru_equals_the_library_gru() -> None:
    model, x = gru_loop.example(steps=20, batch=3, size=8)
    library = nn.GRU(8, 8)
    library.load_state_dict(
        {
            "weight_ih_l0": model.from_input.weight,
            "bias_ih_l0": model.from_input.bias,
            "weight_hh_l0": model.from_state.weight,
            "bias_hh_l0": model.from_state.bias,
        }
    )
    torch.testing.assert_close(model(x), library(x)[0], atol=1e-6, rtol=1e-5)


def test_the_gru_factory_has_the_size_that_is_benchmarked() -> None:
    model, (x,) = gru_loop.factory()
    assert x.shape == (4096, 1, 32)
    assert model(x[:4]).shape == (4, 1, 32)


def run_example(*arguments: str, folder: Path) -> str:
    """What the script prints when it runs in `folder`."""
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.demo
def test_the_demo_samples_the_same_images_faster(tmp_path: Path) -> None:
    script = ROOT / "examples" / "made_sampling.py"
    printed = run_example(str(script), "--train-seconds", "2", "--samples", "20", folder=tmp_path)
    assert "samples of the same seed: bit-identical" in printed
    speed = re.search(r"through fxsolve .* ([\d.]+)x faster", printed)
    assert speed is not None
    assert float(speed[1]) > 2
    assert (tmp_path / "out" / "made_samples.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.demo
@pytest.mark.thirdparty
def test_the_flow_example_is_bit_identical_to_both_libraries(tmp_path: Path) -> None:
    printed = run_example(str(ROOT / "examples" / "flow_sampling.py"), "--train-seconds", "2", folder=tmp_path)
    assert printed.count("bit-identical") == 4


@pytest.mark.slow
@pytest.mark.demo
def test_the_gru_example_agrees_with_the_loop(tmp_path: Path) -> None:
    printed = run_example(str(ROOT / "examples" / "gru_loop.py"), "--steps", "512", folder=tmp_path)
    found = re.search(r"largest difference (\S+)", printed)
    assert "bit-identical" in printed or (found is not None and float(found[1]) < 1e-5)
