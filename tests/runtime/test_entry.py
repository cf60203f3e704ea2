"""The first call of a kind: the program runs once, and whatever keeps it from being compiled is told, never raised."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.runtime.entries import Costs, Entry, Options
from fxsolve.runtime.entry import build
from fxsolve.runtime.relatives import Relatives
from fxsolve.state.stores import NO_LIVE
from tests.runtime.building import member_of, numbers, recurrence

OPTIONS = Options("gs", "eager")


def built(
    program: Callable[..., Any], *args: Any, relatives: Relatives | None = None
) -> tuple[Entry, Any, list[Program]]:
    learnt: list[Program] = []
    with torch.no_grad():
        entry, result = build(program, args, {}, OPTIONS, relatives or Relatives(), NO_LIVE, learnt.append, Costs())
    return entry, result, learnt


def test_the_result_is_the_programs_own_of_one_run() -> None:
    def program(x: Tensor) -> Tensor:
        return recurrence(x + torch.randn_like(x))

    x = numbers(6, 2)
    torch.manual_seed(4)
    entry, result, learnt = built(program, x)
    after = torch.get_rng_state()
    torch.manual_seed(4)
    assert torch.equal(result, program(x))
    assert torch.equal(torch.get_rng_state(), after)
    assert entry.report.status == "emitted"
    assert entry.ready is not None
    assert (entry.report.draws, entry.report.guards) == (1, 0)
    assert entry.report.calls > 18
    assert len(learnt) == 1


@pytest.mark.parametrize(
    ("program", "reason", "is_recorded"),
    [
        (torch.sin, "no loop was found", True),
        (lambda x: {"result": object()}, "the program returns a object", False),
        (lambda x: torch.poisson(recurrence(x).abs()), "aten.poisson.default", False),
    ],
    ids=["no loop", "an object", "a draw without a rule"],
)
def test_what_is_not_compiled_is_told(program: Callable[..., Any], reason: str, is_recorded: bool, seed: int) -> None:
    x = numbers(6, 2)
    entry, result, learnt = built(program, x)
    assert (entry.report.status, entry.ready) == ("left alone", None)
    assert reason in entry.report.reason
    assert bool(learnt) == is_recorded
    torch.manual_seed(seed)
    if isinstance(result, Tensor):
        assert torch.equal(result, program(x))


def test_an_error_of_the_program_is_raised_as_it_is() -> None:
    def program(x: Tensor) -> Tensor:
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing") as caught:
        built(program, numbers(6, 2))
    assert caught.value.__context__ is None


def test_relatives_save_the_recording_and_the_note_says_so() -> None:
    known = tuple(member_of(recurrence, numbers(length, 2)) for length in (5, 7))
    entry, result, learnt = built(recurrence, numbers(11, 2), relatives=Relatives(known))
    assert torch.equal(result, recurrence(numbers(11, 2)))
    (note,) = entry.report.notes
    assert note.startswith("not recorded: recordings at the lengths 5 and 7 tell its equations")
    assert "capture" not in dict(entry.report.seconds)
    assert "run" in dict(entry.report.seconds)
    assert learnt[0].example.outputs[0].shape == (11, 2)
    assert {loop.length for loop in entry.report.loops} == {11}


def test_relatives_that_do_not_tell_the_call_are_told_and_it_is_recorded() -> None:
    def program(x: Tensor) -> Tensor:
        return recurrence(x) if len(x) < 9 else recurrence(torch.exp(x))

    known = tuple(member_of(program, numbers(length, 2)) for length in (5, 7))
    relatives = Relatives(known)
    entry, result, learnt = built(program, numbers(11, 2), relatives=relatives)
    assert torch.equal(result, program(numbers(11, 2)))
    assert relatives.refused == "the program makes other calls at this length"
    assert "capture" in dict(entry.report.seconds)
    assert entry.report.status == "emitted"
    assert len(learnt) == 1
