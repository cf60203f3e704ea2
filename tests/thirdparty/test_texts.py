"""Networks of `transformers` in loops that users write, which read the whole text at every step: the same words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from tests.thirdparty.checking import library

WORDS, STEPS = 40, 8
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def gpt2(attention: str) -> Any:
    module = library("transformers.models.gpt2")
    sizes = {"vocab_size": WORDS, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return module.GPT2LMHeadModel(module.GPT2Config(**sizes, **TOKENS, attn_implementation=attention)).eval()


def llama(attention: str) -> Any:
    module = library("transformers.models.llama")
    sizes = {"vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32}
    config = module.LlamaConfig(**sizes, **heads, **TOKENS, attn_implementation=attention)
    return module.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("network", [gpt2, llama])
@torch.no_grad()
def test_each_entry_is_computed_once_and_kept_in_little_memory(
    network: Callable[[str], Any], attention: str, doubles: None
) -> None:
    net = network(attention)

    def sample(text: Tensor) -> Tensor:
        for _ in range(STEPS):
            logits = net(text, use_cache=False).logits[:, -1]
            text = torch.cat([text, torch.multinomial(logits.softmax(-1), 1)], 1)
        return text

    text = torch.randint(3, WORDS, (2, 5))
    fast = fxsolve.compile(sample, (text,), schedule="incremental", backend="eager", tolerance=1e-9)
    for _ in range(2):
        torch.manual_seed(1)
        words, state = sample(text), torch.get_rng_state()
        torch.manual_seed(1)
        assert torch.equal(fast(text), words)
        assert torch.equal(torch.get_rng_state(), state)
        for parameter in net.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    assert [one.sweeps for one in fast.report().runs if one.method == "incremental"] == [1]
    (kept,) = (one for one in str(fast.report()).splitlines() if "keeps" in one)
    assert float(kept.split("keeps")[1].split()[0]) < 0.1  # MiB
