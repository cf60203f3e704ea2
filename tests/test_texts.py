"""Texts that grow, as people write samplers: the program's words, and each entry computed once, as one sweep finds."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.ir.spec import Lag
from fxsolve.lower.batch import batch
from fxsolve.stages import capture, partition
from tests.texts import HIDES, TEXTS, gpt, prompt, repetition, top_k

TOLERANCE = 1e-9
# Not yet: what stands in the way is in the report.
IN_ORDER = {
    "frequency, bincount",
    "window, full at once",
    "gru",
    "lstm",
    "lstm, two layers",
    "rnn",
    "beams",
    "beams, gather",
    "beams of a batch",
}


def run(program: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return program(*inputs), torch.get_rng_state()


@pytest.mark.parametrize("name", TEXTS)
@torch.no_grad()
def test_words_are_those_of_the_program_and_the_generator_is_where_it_leaves_it(name: str, doubles: None) -> None:
    program, inputs = TEXTS[name]()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager", tolerance=TOLERANCE)
    words, state = run(program, inputs)
    found, after = run(fast, inputs)
    assert torch.equal(found, words)
    assert torch.equal(after, state)
    runs = [one for one in fast.report().runs if one.method == "incremental"]
    assert {one.sweeps for one in runs} == (set() if name in IN_ORDER else {1})


GROWN = ("cat", "pad", "full", "counted", "counted, added")


@pytest.mark.parametrize("name", ["padding", *(f"padding, {name}" for name in (*GROWN, *HIDES))])
@torch.no_grad()
def test_masks_of_keys_beside_the_triangle_are_the_same_in_every_step(name: str, doubles: None) -> None:
    """What is hidden above the diagonal is not masked again, and one sweep runs the model once."""
    program, inputs = TEXTS[name]()
    system = partition(capture(program, *inputs)).system
    (repeat,) = (one for one in system.repeats if one.length > 4)
    assert not any(isinstance(read, Lag) for read in repeat.reads)
    calls = [node for node in batch(repeat, repeat.length).graph.nodes if node.op == "call_function"]
    attended = [node for node in calls if "softmax" in str(node.target) or "attention" in str(node.target)]
    assert attended
    assert all(len(node.all_input_nodes[0].meta["val"]) == len(inputs[0]) for node in attended)
    looked_up = [node for node in calls if "embedding" in str(node.target)]
    assert all(len(node.meta["val"]) == len(inputs[0]) for node in looked_up)


@pytest.mark.parametrize("samples", [1, 8])
@torch.no_grad()
def test_other_weights_batches_and_prompts_draw_the_words_of_the_program(samples: int) -> None:
    net = gpt(layers=2)

    def sample(text: Tensor) -> Tensor:
        for _ in range(5):
            logits = repetition(top_k(net(text)[:, -1], text), text)
            text = torch.cat([text, torch.multinomial(logits.softmax(-1), 1)], 1)
        return text

    fast = fxsolve.compile(sample, schedule="incremental", backend="eager")
    for length in (3, 6, 3):
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        inputs = (prompt(samples, length),)
        fast(*inputs)  # the first call with inputs of a form is that of the program
        words, state = run(sample, inputs)
        found, after = run(fast, inputs)
        assert torch.equal(found, words)
        assert torch.equal(after, state)
        assert any(one.method == "incremental" for one in fast.report().runs)
