"""The samplers with caches draw what the loops draw that they stand for; the networks of the benchmarks are right."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import by_hand.gpt
import by_hand.pixelcnn
import by_hand.tarflow
import by_hand.wavenet
import gpt_sampling
import networks.made
import pixelcnn_sampling
import wavenet_sampling
from networks.tarflow import TarFlow
from pixelcnn import PixelCNN


def drawn(program: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    torch.manual_seed(1)
    return program(*inputs)


@pytest.mark.parametrize(("samples", "given"), [(1, 1), (3, 4)])
def test_a_cache_of_keys_and_values_gives_the_same_tokens(samples: int, given: int) -> None:
    torch.manual_seed(0)
    model = gpt_sampling.GPT(23, block=16, width=16, layers=2, heads=2).eval()
    idx = torch.randint(23, (samples, given))
    expected = drawn(gpt_sampling.sampler(model, 16 - given), idx)
    assert torch.equal(drawn(by_hand.gpt.sampler(model, 16 - given), idx), expected)


def test_queues_give_the_same_sound() -> None:
    torch.manual_seed(0)
    model = wavenet_sampling.WaveNet(levels=16, width=8, layers=4).eval()
    expected = drawn(wavenet_sampling.sampler(model, 2, 40))
    assert torch.equal(drawn(by_hand.wavenet.sampler(model, 2, 40)), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layers", [1, 2])
def test_caches_of_rows_and_pixels_give_the_same_images(channels: int, layers: int) -> None:
    torch.manual_seed(0)
    model = PixelCNN(channels, filters=4, layers=layers).eval()
    expected = drawn(pixelcnn_sampling.sampler(model, 2, channels, 8))
    images = drawn(by_hand.pixelcnn.sampler(model, 2, channels, 8))
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def flow() -> TarFlow:
    torch.manual_seed(0)
    made = TarFlow(10, 3, width=8, layers=2, heads=2, blocks=3).double()
    for block in made.blocks:
        nn.init.normal_(block.last.weight, std=0.2)  # pyright: ignore
    return made


def test_the_flow_and_its_inverse_undo_each_other_with_and_without_a_cache() -> None:
    made, x = flow(), torch.randn(2, 10, 3).double()
    z = x
    with torch.no_grad():
        for block in made.blocks:
            z, _ = block(z)
    for inverse in (made.inverse, lambda z: by_hand.tarflow.inverse(made, z)):
        torch.testing.assert_close(inverse(z), x, rtol=0, atol=1e-10)


def test_the_density_of_the_flow_has_the_log_of_its_determinant() -> None:
    made, x = flow(), torch.randn(1, 10, 3).double()

    def latent(flat: Tensor) -> Tensor:
        z = flat.view(1, 10, 3)
        for block in made.blocks:
            z, _ = block(z)
        return z.flatten()

    jacobian = torch.autograd.functional.jacobian(latent, x.flatten())
    expected = latent(x.flatten()).square().sum() / 2 - torch.linalg.slogdet(jacobian)[1]  # pyright: ignore
    torch.testing.assert_close(made(x)[0], expected)


def test_a_logistic_made_reads_only_earlier_entries_and_follows_the_seed() -> None:
    torch.manual_seed(0)
    model = networks.made.LogisticMADE(12, hidden=(64, 64))
    jacobian = torch.autograd.functional.jacobian(lambda x: torch.cat(model(x[None]))[:, :], torch.rand(12))
    assert isinstance(jacobian, Tensor)
    assert torch.equal(jacobian.triu(), torch.zeros(2, 12, 12))
    assert jacobian.tril(-1).any(-1).any(-1).all()
    sample = networks.made.sampler(model, 2, 12)
    assert torch.equal(drawn(sample), drawn(sample))
