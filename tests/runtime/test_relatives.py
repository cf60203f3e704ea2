"""Which recordings tell a call: the newest pairs first, few of them, and a word where a declaration fails."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.errors import InputError
from fxsolve.runtime.declaration import read_shapes
from fxsolve.runtime.family import Member
from fxsolve.runtime.rehearsal import Rehearsal
from fxsolve.runtime.relatives import Relatives
from fxsolve.stages import Clock
from tests.runtime.building import numbers, recurrence


def of_length(length: int) -> Member:
    return Member(None, None, (length, 2))  # pyright: ignore[reportArgumentType]


def pairs(relatives: Relatives, length: int) -> list[tuple[int, int, int]]:
    with torch.no_grad():
        found = relatives.pairs((numbers(length, 2),), {}, Clock())
        return [(one.sizes[0], two.sizes[0], lengths.wanted) for one, two, lengths in found]


def test_the_newest_pairs_come_first_and_at_most_two_are_tried() -> None:
    relatives = Relatives(tuple(map(of_length, (4, 5, 7))))
    assert pairs(relatives, 11) == [(5, 7, 11), (4, 7, 11)]


def test_members_of_one_length_or_of_other_sizes_are_no_pair() -> None:
    assert pairs(Relatives((of_length(5), of_length(5))), 11) == []
    assert pairs(Relatives((of_length(5), Member(None, None, (7, 3)))), 11) == []  # pyright: ignore
    assert pairs(Relatives((of_length(5),)), 11) == []


def declared(program: Any, shapes: Any = ({0: "time"},)) -> Relatives:
    return Relatives(rehearsal=Rehearsal(program, read_shapes(shapes)))


def test_a_long_declared_call_is_rehearsed_at_two_short_lengths() -> None:
    relatives = declared(recurrence)
    found = relatives.pairs((numbers(200, 2),), {}, Clock())
    with torch.no_grad():
        one, two, lengths = next(found)
    assert one.sizes[0] < two.sizes[0] < lengths.wanted == 200
    assert relatives.rehearsed == [one, two]
    assert relatives.notes == []


def test_a_short_declared_call_is_not_rehearsed() -> None:
    relatives = declared(recurrence)
    assert pairs(relatives, 9) == []
    assert relatives.rehearsed == relatives.notes == []


def test_a_call_outside_of_its_declaration_is_refused() -> None:
    with pytest.raises(InputError, match="dynamic_shapes names 'y'"):
        pairs(declared(recurrence, {"y": {0: "time"}}), 200)


def test_rehearsals_that_did_not_do_are_told_and_not_tried_again() -> None:
    relatives = declared(recurrence)
    relatives.refused = "the results have another structure"
    assert len(pairs(relatives, 200)) == 2
    assert relatives.notes == [
        "recorded at its own length, in spite of dynamic_shapes: the results have another structure"
    ]
    assert relatives.rehearsal is not None
    assert relatives.rehearsal.failed == {False}
    assert pairs(Relatives(rehearsal=relatives.rehearsal), 200) == []


def test_an_error_on_shorter_arguments_is_told() -> None:
    def program(x: Tensor) -> Tensor:
        if len(x) < 100:
            raise ValueError("too short")
        return recurrence(x)

    relatives = declared(program)
    assert pairs(relatives, 200) == []
    (note,) = relatives.notes
    assert "on shorter arguments the program raised ValueError: too short" in note
