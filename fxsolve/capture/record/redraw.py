"""Draws of a run, made again: the random numbers that a program uses are those that were seen being drawn."""

import torch
from torch import Tensor

from fxsolve.capture.bits import same_bits
from fxsolve.capture.record.recorder import Recorder
from fxsolve.errors import CaptureError
from fxsolve.state.generators import put_back
from fxsolve.state.random_state import RandomState, read_random_state


def check_randomness(recorder: Recorder, before: RandomState) -> None:
    """Make all draws again from the state before the run: same bits, and the state after the run."""
    if not before.is_python_unchanged():
        raise CaptureError(
            "the program, or another thread meanwhile, draws random numbers from Python or NumPy; draw them with torch."
        )
    recorder.fresh.check()
    if not (_draws_again(recorder, before) if recorder.draws else _drew_nothing(recorder, before)):
        raise CaptureError(
            "the program uses random numbers that fxsolve did not see being drawn, or another thread drew some "
            "meanwhile."
        )


def _states(recorder: Recorder) -> list[Tensor]:
    return [generator.get_state() for generator, _ in recorder.generators.values()]


def _draws_again(recorder: Recorder, before: RandomState) -> bool:
    after, explicit = read_random_state(), _states(recorder)
    put_back(before, recorder.generators.values())
    same = all(same_bits(draw.sample(), noise) for draw, noise in zip(recorder.draws, recorder.noise, strict=True))
    return same and after.is_torch_unchanged() and all(map(torch.equal, _states(recorder), explicit))


def _drew_nothing(recorder: Recorder, before: RandomState) -> bool:
    known = (state for _, state in recorder.generators.values())
    return before.is_torch_unchanged() and all(map(torch.equal, _states(recorder), known))
