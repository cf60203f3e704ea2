"""Texts that grow, as people write samplers: the program's words, and each entry computed once, as one sweep finds."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from tests.texts import TEXTS

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
