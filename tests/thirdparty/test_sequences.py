"""Language models and diffusion samplers, with random weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.thirdparty.checking import Case, check_left_alone, check_rolled, library, two_inputs

pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore")]

WORDS = 20


def _tokens(*shape: int) -> Tensor:
    return torch.randint(0, WORDS, shape)


def _hidden(model: nn.Module) -> Case:
    model.eval()
    return Case(lambda ids: model(ids, use_cache=False).last_hidden_state, *two_inputs((2, 16), draw=_tokens))


def test_transformers_rwkv() -> None:
    rwkv = library("transformers.models.rwkv")
    sizes = {"hidden_size": 16, "attention_hidden_size": 16, "intermediate_size": 32, "context_length": 64}
    config = rwkv.RwkvConfig(vocab_size=WORDS, num_hidden_layers=2, **sizes)
    check_rolled("transformers_rwkv", _hidden(rwkv.RwkvModel(config)), [16] * 6)


def test_transformers_mamba_without_its_kernels() -> None:
    mamba = library("transformers.models.mamba")
    config = mamba.MambaConfig(vocab_size=WORDS, hidden_size=16, state_size=4, num_hidden_layers=2)
    check_rolled("transformers_mamba", _hidden(mamba.MambaModel(config)), [16, 16, 16, 16])


def _mamba() -> nn.Module:
    mamba = library("mambapy.mamba")
    return mamba.Mamba(mamba.MambaConfig(d_model=8, n_layers=2, d_state=4, pscan=False)).eval()


def test_mambapy_scans_one_layer_after_the_other() -> None:
    check_rolled("mambapy", Case(_mamba(), *two_inputs((2, 16, 8))), [16, 16])


def test_mambapy_step_by_step_through_all_layers() -> None:
    model = _mamba()

    def run(x: Tensor) -> Tensor:
        caches: Any = [(None, torch.zeros(2, 16, 3)) for _ in range(2)]
        outputs = []
        for t in range(x.shape[1]):
            y, caches = model.step(x[:, t], caches)
            outputs.append(y)
        return torch.stack(outputs, 1)

    check_rolled("mambapy_step", Case(run, *two_inputs((2, 12, 8))), [11, 11])


def test_x_transformers_generation_grows_its_input() -> None:
    xt = library("x_transformers")
    layers = xt.Decoder(dim=16, depth=2, heads=2)
    model = xt.AutoregressiveWrapper(xt.TransformerWrapper(num_tokens=WORDS, max_seq_len=16, attn_layers=layers))
    case = Case(lambda ids: model.generate(ids, 6, cache_kv=False), *two_inputs((2, 4), draw=_tokens))
    check_rolled("x_transformers_generate", case, [6, 6])


def test_transformers_generation_grows_its_cache() -> None:
    gpt2 = library("transformers.models.gpt2")
    sizes = {"vocab_size": WORDS, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
    model = gpt2.GPT2LMHeadModel(gpt2.GPT2Config(**sizes, bos_token_id=0, eos_token_id=None, pad_token_id=0)).eval()

    def run(ids: Tensor) -> Tensor:
        return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=True, top_k=5)

    check_rolled("transformers_generate", Case(run, *two_inputs((2, 4), draw=_tokens)), [7, 7, 7], guards=19)


@pytest.mark.parametrize(("scheduler", "guards"), [("DDIM", 47), ("DDPM", 137)])
def test_diffusers_schedulers_keep_their_times_in_tensors(scheduler: str, guards: int) -> None:
    sampler = getattr(library("diffusers"), f"{scheduler}Scheduler")()
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
    sampler.set_timesteps(12)

    def run(x: Tensor) -> Tensor:
        for t in sampler.timesteps:
            time = (t / 1000).expand(x.shape)
            x = sampler.step(net(torch.cat([x, time], 1)), t, x).prev_sample
        return x

    check_rolled(f"diffusers_{scheduler.lower()}", Case(run, *two_inputs((2, 1, 8, 8))), [11, 11], guards)


def test_diffusers_unet() -> None:
    diffusers = library("diffusers")
    sampler = diffusers.DDIMScheduler()
    sampler.set_timesteps(6)
    sizes: Any = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
    blocks: Any = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    net = diffusers.UNet2DModel(in_channels=1, out_channels=1, **sizes, **blocks).eval()

    def run(x: Tensor) -> Tensor:
        for t in sampler.timesteps:
            x = sampler.step(net(x, t).sample, t, x).prev_sample
        return x

    check_rolled("diffusers_unet", Case(run, *two_inputs((1, 1, 8, 8))), [5, 5], guards=23)


def test_timm_densenet_is_dense_blocks_of_growing_width() -> None:
    model = library("timm").create_model("densenet121").eval()
    check_left_alone("timm_densenet121", Case(model, *two_inputs((1, 3, 32, 32))), "no loop was found|not rolled")
