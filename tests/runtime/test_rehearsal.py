"""Declared lengths: measured in the arguments of a call, and arguments cut to shorter ones."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.errors import InputError
from fxsolve.runtime.declaration import read_shapes
from fxsolve.runtime.rehearsal import DeclaredArguments, Rehearsal
from tests.runtime.building import numbers, recurrence


def two_inputs(x: Tensor, y: Tensor, *rest: Tensor, steps: int = 0) -> Tensor:
    return x


def arguments(shapes: Any, *args: Any, **kwargs: Any) -> DeclaredArguments:
    return DeclaredArguments(two_inputs, read_shapes(shapes), args, kwargs)


BOTH = {"x": {0: "time"}, "y": {1: "time"}, "steps": "more"}


def test_every_declared_length_is_measured() -> None:
    given = arguments(BOTH, numbers(9, 2), numbers(2, 9), steps=4)
    assert given.lengths() == {"time": 9, "more": 4}


def test_sizes_of_one_name_must_be_equal() -> None:
    with pytest.raises(InputError, match="time is 9, but 8 at y"):
        arguments(BOTH, numbers(9, 2), numbers(2, 8), steps=4).lengths()


def test_the_strictest_bounds_count() -> None:
    time, other = torch.export.Dim("time", min=2, max=50), torch.export.Dim("time", min=4)
    given = arguments({"x": {0: time}, "y": {0: other}}, numbers(9, 2), numbers(9, 2))
    assert given.bounds("time") == (4, 50)


def test_shortened_arguments_are_the_first_entries() -> None:
    x, y = numbers(9, 2).requires_grad_(), numbers(2, 9)
    (a, b), kwargs = arguments(BOTH, x, y, steps=4).shortened({"time": 5, "more": 3})
    assert torch.equal(a, x[:5])
    assert torch.equal(b, y[:, :5])
    assert kwargs == {"steps": 3}
    assert a.requires_grad
    assert not b.requires_grad
    assert a.is_leaf
    assert x.shape == (9, 2)


def test_one_tensor_given_twice_is_one_tensor_again() -> None:
    x = numbers(9, 2)
    (a, b), _ = arguments({"x": {0: "time"}, "y": {0: "time"}}, x, x).shortened({"time": 5})
    assert a is b


@pytest.mark.parametrize(
    "x",
    [numbers(9, 2), numbers(2, 9).t(), numbers(9, 1).expand(9, 4), numbers(2, 9, 3).permute(1, 2, 0)],
    ids=["contiguous", "transposed", "expanded", "permuted"],
)
def test_shortened_arguments_are_laid_out_like_the_whole(x: Tensor) -> None:
    (short,), _ = arguments(({0: "time"},), x).shortened({"time": 5})
    assert torch.equal(short, x[:5])
    order = sorted(range(x.dim()), key=lambda dim: (x.stride(dim), -dim))
    assert order == sorted(range(x.dim()), key=lambda dim: (short.stride(dim), -dim))
    assert [stride == 0 for stride in short.stride()] == [stride == 0 for stride in x.stride()]


def test_arguments_behind_the_named_ones_are_declared_together() -> None:
    given = arguments({"rest": ({0: "time"}, None)}, numbers(1), numbers(1), numbers(9), numbers(7))
    assert given.lengths() == {"time": 9}
    args, _ = given.shortened({"time": 5})
    assert [len(one) for one in args] == [1, 1, 5, 7]


def test_tensors_on_one_memory_are_noticed() -> None:
    x = numbers(9, 2)
    assert arguments((None, None), x, x[1:]).share_memory()
    assert not arguments((None, None), x, x).share_memory()
    assert not arguments((None, None), x, x.clone()).share_memory()


def lengths_of(rehearsal: Rehearsal, length: int) -> list[tuple[int, int]]:
    with torch.no_grad():
        given = rehearsal.of((numbers(length, 2),), {})
        return [(one.sizes[0], two.sizes[0]) for one, two in rehearsal.pairs(given, given.lengths())]


@pytest.mark.parametrize("length", [200, 203, 40, 17, 16, 5])
def test_rehearsals_are_shorter_than_the_call_and_leave_its_remainder(length: int) -> None:
    pairs = lengths_of(Rehearsal(recurrence, read_shapes(({0: "time"},))), length)
    assert len(pairs) == sum(length > longest for longest in (16 + length % 8, 128 + length % 8))
    for short, longer in pairs:
        assert short < longer < length
        assert short % 8 == longer % 8 == length % 8


def test_bounds_of_a_declaration_hold_for_rehearsals() -> None:
    time = torch.export.Dim("time", min=20, max=50)
    pairs = lengths_of(Rehearsal(recurrence, read_shapes(({0: time},))), 49)
    assert pairs == [(25, 33)]


def test_a_declaration_that_failed_is_not_followed_in_that_grad_mode() -> None:
    rehearsal = Rehearsal(recurrence, read_shapes(({0: "time"},)))
    rehearsal.failed.add(False)
    assert lengths_of(rehearsal, 200) == []
    rehearsal.failed = {True}
    assert lengths_of(rehearsal, 200)
