"""Samplers of growing texts, recorded with prompts of two lengths, are known with prompts of any other.

Their equations rest on values: a mask is a triangle, an index is -1. What says the same at every length is not asked
again.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from tests.samplers import Attention, Fused, Transformer

TOKENS, LENGTH, STEPS = 7, 24, 6
Program = Callable[[Tensor], tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def network(attention: type[Attention] = Attention) -> Transformer:
    return Transformer(attention, tokens=TOKENS, length=LENGTH, layers=2).eval().double()


def sampler(net: nn.Module, last: Callable[[Tensor, Tensor], Tensor] | None = None) -> Program:
    def sample(text: Tensor) -> tuple[Tensor, Tensor]:
        logits = net(text)
        for _ in range(STEPS):
            logits = net(text)[:, -1]
            least = torch.topk(logits, 3)[0][:, [-1]] if last is None else last(logits, text)
            logits = logits.masked_fill(logits < least, -torch.inf)
            text = torch.cat([text, torch.multinomial(logits.softmax(-1), 1)], 1)
        return text, logits

    return sample


def compiled(program: Program) -> fxsolve.Compiled:
    return fxsolve.compile(program, schedule="incremental", backend="eager", tolerance=1e-9)


def ask(fast: fxsolve.Compiled, program: Program, length: int, samples: int = 2) -> None:
    """Both draw the same words, by the same logits, and leave the generator at the same place."""
    text = torch.randint(TOKENS, (samples, length))
    torch.manual_seed(1)
    words, logits = program(text)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    found, ours = fast(text)
    assert torch.equal(found, words)
    torch.testing.assert_close(ours, logits, atol=1e-9, rtol=1e-9)
    assert torch.equal(torch.get_rng_state(), state)


def is_derived(fast: fxsolve.Compiled) -> bool:
    return any("not recorded" in note for note in fast.report().notes)


@pytest.mark.parametrize("attention", [Attention, Fused])
def test_a_prompt_of_a_third_length_is_not_recorded(attention: type[Attention]) -> None:
    net = network(attention)
    program = sampler(net)
    fast = compiled(program)
    for length in (3, 5):
        ask(fast, program, length)
        assert not is_derived(fast)
    for length in (8, 4, 11):
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        ask(fast, program, length)
        assert is_derived(fast)
        ask(fast, program, length)
        assert {one.sweeps for one in fast.report().runs if one.method == "incremental"} == {1}


def masks(net: Transformer) -> list[Tensor]:
    return [mixer.seen for mixer in net.mixers]  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("size", [12, 13, 16, 20])
def test_a_mask_that_is_a_triangle_only_where_it_was_read_is_looked_at_again(size: int) -> None:
    net = network()
    for mask in masks(net):
        mask[..., size - 1] = 1  # a word that all see
    program = sampler(net)
    fast = compiled(program)
    for length in (3, 5, size - 3, size - 3):
        ask(fast, program, length)
        assert not is_derived(fast)


def test_a_mask_that_is_written_to_is_read_anew() -> None:
    net = network()
    program = sampler(net)
    fast = compiled(program)
    for length in (3, 5, 8):
        ask(fast, program, length)
    assert is_derived(fast)
    for mask in masks(net):
        mask[..., 10] = 1
    for length in (8, 8, 9, 9):
        ask(fast, program, length)
        assert not is_derived(fast)


def test_constants_that_are_others_at_a_third_length_are_recorded() -> None:
    program = sampler(network(), lambda logits, text: torch.topk(logits, 3)[0][:, [-1 if text.shape[1] < 12 else -2]])
    fast = compiled(program)
    for length in (3, 5, 8, 9):
        ask(fast, program, length)
        assert not is_derived(fast) or length < 6


def test_texts_that_are_filled_up_to_one_length_are_known_after_two() -> None:
    net = network()

    def program(text: Tensor) -> tuple[Tensor, Tensor]:
        logits = net(text)[:, -1]
        while text.shape[1] < LENGTH:
            logits = net(text)[:, -1]
            least = torch.topk(logits, 3)[0][:, [-1]]
            text = torch.cat([text, torch.multinomial((logits * (logits >= least)).softmax(-1), 1)], 1)
        return text, logits

    fast = compiled(program)
    for length in (3, 5, 9, 14):
        ask(fast, program, length)
        assert is_derived(fast) == (length > 5)
