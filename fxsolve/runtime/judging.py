"""Whether what was emitted answers calls faster than the program itself, its guards and what it hands on included."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.errors import LeftAloneError
from fxsolve.runtime.contest import is_close, may_begin_behind
from fxsolve.runtime.gradients import Differentiable, Original
from fxsolve.runtime.trial import CallSeconds, race, run_original, time_emitted
from fxsolve.torch_compat.trees import pytree

_WORTH = 1.2
_CALL_SECONDS = 3e-5  # what a call costs besides: its guards, what it hands on
_STORE_SECONDS = 2e-6  # for each tensor that is kept until the next call, and looked at there


@dataclass(frozen=True)
class Judged:
    """The reason to leave the program alone, "" where there is none; `is_close` where calls to come may decide."""

    reason: str
    is_close: bool


def judge(times: CallSeconds, emitted: Emitted | Differentiable, captured: Program, reading: float) -> Judged:
    """What the times say; `reading` are seconds of a call that the original does not take."""
    # A backward pass costs more besides than others.
    worth = _WORTH if isinstance(emitted, Differentiable) else 1.0
    besides = _CALL_SECONDS + reading + _STORE_SECONDS * len(captured.stores.fresh)
    close = is_close(times.original, times.emitted + besides)
    if times.emitted * worth + besides <= times.original:
        return Judged("", close)
    ratio = times.emitted / times.original
    cost = ", and each call costs something besides" if ratio < 1 else ""
    return Judged(f"sequential is best here: the emitted module takes {ratio:.2f} times as long{cost}", close)


def time_both(
    original: Original, emitted: Emitted | Differentiable, captured: Program, rewind: Callable[[], None]
) -> CallSeconds:
    """Seconds of both forms on the recorded call; `rewind` puts generators back."""
    return race(
        lambda: _run_original(original, captured, rewind),
        lambda: time_emitted(emitted, captured, original),
        may_begin_behind(captured),
    )


def _run_original(original: Original, captured: Program, rewind: Callable[[], None]) -> float:
    """Run the program once more as if for the first time; returns the seconds."""
    leaves: list[Any] = pytree.tree_leaves((original.args, original.kwargs))
    inputs = (*(leaf for leaf in leaves if isinstance(leaf, Tensor)), *captured.example.state)
    if captured.draws:
        rewind()  # another draw could take another branch, and write where nothing is put back
    try:
        return run_original(original, captured, inputs)
    except Exception as error:
        raise LeftAloneError(
            f"the program raised {type(error).__name__} when it ran a second time on these arguments"
        ) from error
