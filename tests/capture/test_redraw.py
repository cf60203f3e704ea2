"""Draws that were seen can be made again; random numbers that were not seen end the recording."""

import random

import pytest
import torch

from fxsolve.capture.record.redraw import check_randomness
from fxsolve.errors import CaptureError
from fxsolve.state.random_state import read_random_state
from tests.capture.recording import recorder_of, run


@pytest.fixture(autouse=True)
def _seeds():
    state = read_random_state()
    yield
    state.restore()


def test_what_was_drawn_comes_again_and_leaves_the_generator_where_it_was() -> None:
    torch.manual_seed(1)
    before, recorder = read_random_state(), recorder_of()
    run(recorder, lambda: (torch.randn(3), torch.rand(2)))
    after = torch.get_rng_state()
    check_randomness(recorder, before)
    assert torch.equal(torch.get_rng_state(), after)


def test_a_draw_that_was_not_seen_is_refused() -> None:
    before, recorder = read_random_state(), recorder_of()
    run(recorder, lambda: torch.randn(3))
    torch.randn(1)
    with pytest.raises(CaptureError, match="random numbers that fxsolve did not see being drawn"):
        check_randomness(recorder, before)


def test_a_program_that_draws_nothing_leaves_the_generators_alone() -> None:
    before, recorder = read_random_state(), recorder_of()
    check_randomness(recorder, before)
    torch.randn(1)
    with pytest.raises(CaptureError, match="random numbers that fxsolve did not see being drawn"):
        check_randomness(recorder, before)


def test_numbers_of_python_are_refused() -> None:
    before, recorder = read_random_state(), recorder_of()
    random.random()
    with pytest.raises(CaptureError, match="draws random numbers from Python or NumPy"):
        check_randomness(recorder, before)
