"""Calls like others, at other sizes, that were left alone."""

from dataclasses import replace

import torch
from torch import Tensor

from fxsolve.report.report import Report
from fxsolve.runtime.entries import Entry, Refusal
from fxsolve.runtime.guard_keys import CallKey, Reader
from fxsolve.runtime.siblings import Siblings

MEASURED = Entry(Report("net", "left alone", reason="slower", emitted_seconds=1.0))
NO_LOOP = Entry(Report("net", "left alone", reason="no loop"))
READER = Reader(lambda x: x)


def call(length: int, *more: int) -> tuple[CallKey, tuple[Tensor, ...]]:
    args = (torch.zeros(length, *more),)
    return READER.read(args, {}), args


def siblings(entry: Entry, *lengths: int) -> Siblings:
    found = Siblings()
    for length in lengths:
        found.add(*call(length), entry)
    return found


def test_sizes_between_and_near_those_that_were_measured_are_left_alone() -> None:
    found = siblings(MEASURED, 20, 40)
    assert [bool(found.why_alone(*call(length))) for length in (13, 14, 30, 60, 61)] == [False, True, True, True, False]
    assert found.why_alone(*call(30)) == "not recorded: it was left alone at 2 sizes like these: slower"


def test_one_size_tells_nothing() -> None:
    assert siblings(MEASURED, 20).why_alone(*call(20)) == ""


def test_what_was_not_measured_may_be_otherwise_at_other_sizes() -> None:
    assert siblings(NO_LOOP, 20, 40).why_alone(*call(30)) == ""
    assert siblings(replace(NO_LOOP, refusal=Refusal(wrote=False)), 20, 40).why_alone(*call(30)) != ""


def test_tensors_of_another_number_of_dimensions_are_no_siblings() -> None:
    assert siblings(MEASURED, 20, 40).why_alone(*call(30, 2)) == ""
