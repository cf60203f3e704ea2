"""The samplers among the examples: entries depend on those before them alone, and scripts run as a user runs them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.examples.test_examples import ROOT, run_example

import gpt_sampling
import pixelcnn_sampling
import training
import wavenet_sampling
from pixelcnn import MIXTURES, PixelCNN

PLACES, SIDE = 8, 8


def gpt(x: Tensor) -> Tensor:
    """Logits of token t + 1 at place t, moved there."""
    torch.manual_seed(0)
    model = gpt_sampling.GPT(5, block=PLACES, width=8, layers=2, heads=2)
    return nn.functional.pad(model(x), (0, 0, 1, -1))


def wavenet(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return wavenet_sampling.WaveNet(levels=5, width=4, layers=3)(x).transpose(1, 2)


def pixelcnn(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    model = PixelCNN(1, filters=4).eval()
    return model(x.float().view(-1, 1, SIDE, SIDE)).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("model", "places"), [(gpt, PLACES), (wavenet, PLACES), (pixelcnn, SIDE * SIDE)])
@torch.no_grad()
def test_a_place_depends_on_those_before_it_and_on_them_only(model: Callable[[Tensor], Tensor], places: int) -> None:
    x = torch.zeros(places + 1, places, dtype=torch.long)
    x[range(places), range(places)] = 1  # row k differs from the last one at place k
    changed = (model(x)[:-1] - model(x)[-1]).abs().amax(-1) > 0
    assert not changed.tril().any()
    assert changed.any(0)[1:].all()


def test_the_seed_decides_all_samples() -> None:
    gpt_model = gpt_sampling.GPT(len(gpt_sampling.CHARACTERS), block=PLACES, width=8, layers=1, heads=2)
    generate = gpt_sampling.sampler(gpt_model, PLACES + 4)  # beyond the block
    samplers = [
        lambda: generate(gpt_sampling.prompt(2)),
        wavenet_sampling.sampler(wavenet_sampling.WaveNet(levels=5, width=4, layers=3), 2, PLACES),
        pixelcnn_sampling.sampler(PixelCNN(1, filters=4).eval(), 2, 1, 4),
        pixelcnn_sampling.sampler(PixelCNN(3, filters=4).eval(), 2, 3, 4),
    ]
    for sample in samplers:
        results = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            results.append(sample())
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_the_masses_of_all_levels_of_a_colour_add_up_to_one(channels: int) -> None:
    parameters = torch.randn(1, MIXTURES * (3 if channels == 1 else 10), 1, 1)
    levels = pixelcnn_sampling.to_levels(torch.arange(256) / 255)
    images = levels.view(-1, 1, 1, 1) if channels == 1 else torch.zeros(256, 3, 1, 1)
    images[:, -1, 0, 0] = levels

    def mass(image: Tensor) -> Tensor:
        return torch.exp(-pixelcnn_sampling.negative_log_likelihood(lambda _: parameters, image[None]))  # pyright: ignore

    total = torch.stack([mass(image) for image in images]).sum()
    others = 1.0 if channels == 1 else mass_of_first_two(parameters)
    torch.testing.assert_close(total, torch.as_tensor(others), rtol=1e-4, atol=1e-6)


def mass_of_first_two(parameters: Tensor) -> Tensor:
    """The mass that the mixture gives to red and green of level 0, by the logistics' cumulative functions."""
    logits, means, log_scales, _ = pixelcnn_sampling.split(parameters, 3)
    means = means[:, :2].clone()
    ends = [torch.sigmoid((s * pixelcnn_sampling.HALF - means) * torch.exp(-log_scales[:, :2])) for s in (1, -1)]
    return ((ends[0] - ends[1]).prod(1) * logits.softmax(1)).sum()


@torch.no_grad()
def test_draws_of_a_narrow_mixture_lie_at_its_means() -> None:
    parameters = torch.full((1000, 10 * MIXTURES), -7.0)
    parameters[:, 0] = 7.0  # the first logistic
    means = parameters[:, MIXTURES : 4 * MIXTURES].unflatten(1, (3, MIXTURES))
    means[:] = torch.tensor([0.5, 0.2, 0.1])[None, :, None]
    pixels = pixelcnn_sampling.draw(parameters, 3)
    expected = torch.tensor([0.5, 0.2 - 0.5, 0.1 - 0.5 + 0.3])  # the couplings are tanh(-7)
    torch.testing.assert_close(pixels.mean(0), expected, rtol=0, atol=2e-3)


def test_patches_and_digits_are_levels() -> None:
    for images, shape in ((pixelcnn_sampling.patches(8), (3, 8, 8)), (pixelcnn_sampling.digits(8), (1, 8, 8))):
        assert images.shape[1:] == shape
        assert len(images) > 1000
        assert images.min() == -1
        assert images.max() == 1
        levels = (images + 1) * 127.5
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)


def test_levels_of_sound_are_told_apart() -> None:
    assert wavenet_sampling.encode(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
    assert (wavenet_sampling.encode(torch.linspace(-1, 1, 1001)).diff() >= 0).all()
    assert wavenet_sampling.strings(3, 50).abs().max() <= 1


def test_weights_are_kept_from_one_call_to_the_next(tmp_path: Path) -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    training.kept(first, lambda: first.weight.data.fill_(3.0), "line", tmp_path / "new")
    training.kept(second, lambda: pytest.fail("trained again"), "line", tmp_path / "new")
    assert torch.equal(second.weight, torch.full((2, 2), 3.0))
    assert torch.equal(second.bias, first.bias)


@pytest.mark.demo
@pytest.mark.parametrize(
    ("script", "size"),
    [
        pytest.param("gpt_sampling.py", ("--tokens", "16"), marks=pytest.mark.slow),
        pytest.param("wavenet_sampling.py", ("--steps", "32"), marks=pytest.mark.slow),
        pytest.param("pixelcnn_sampling.py", ("--side", "4"), marks=pytest.mark.slow),
        pytest.param("pixelcnn_sampling.py", ("--side", "4", "--colour"), marks=pytest.mark.slow),
    ],
)
def test_a_sampler_draws_what_the_loop_draws(script: str, size: tuple[str, ...], tmp_path: Path) -> None:
    script = str(ROOT / "examples" / script)
    printed = run_example(script, "--train-seconds", "1", "--samples", "2", *size, folder=tmp_path)
    found = re.search(r"largest difference (\S+)", printed)
    assert "bit-identical" in printed or ("pixelcnn" in script and found is not None and float(found[1]) < 1e-5)
    assert "schedule" in printed
