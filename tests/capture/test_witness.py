"""A witness hears the calls that a recording hears, and lets none write into what stays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fxsolve
from fxsolve.capture.capture import capture
from fxsolve.capture.record.witness import Witness
from fxsolve.errors import CaptureError
from fxsolve.state.reach import find_reach

X, KEPT = torch.rand(4, 3), torch.rand(4, 3)
MEAN, VAR, OTHER = torch.zeros(3), torch.ones(3), torch.zeros(12).untyped_storage()


def literals(x: Tensor) -> Tensor:
    return x * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor(0.5)


def branches(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def own_writes(x: Tensor) -> Tensor:
    y = x.clone()
    y[0] += KEPT[1]
    return y.relu_()


def watch(program: Callable[[Tensor], Any], x: Tensor) -> tuple[Witness, Any]:
    witness = Witness(find_reach(program), (x,))
    return witness, witness.watch(lambda: program(x))


@pytest.mark.parametrize("program", [literals, branches, own_writes])
def test_a_witness_hears_what_a_recording_hears_and_returns_what_the_program_does(program: Any) -> None:
    witness, found = watch(program, X)
    stream = capture(program, (X,), {}).stream
    assert witness.entries == stream.entries
    assert len(witness.literals) == len(stream.literals)
    assert torch.equal(found, program(X))


def test_literals_are_copies_in_order() -> None:
    witness, _ = watch(literals, X)
    assert [one.tolist() for one in witness.literals] == [[1.0, 2.0, 3.0], 0.5]


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "an argument": lambda x: x.add_(1),
    "a view": lambda x: x[0].zero_(),
    "a global": lambda x: KEPT.mul_(x),
    "out": lambda x: torch.add(x, 1, out=KEPT),
    "data": lambda x: KEPT.data.add_(1),
    "running statistics": lambda x: F.batch_norm(x, MEAN, VAR, training=True),
    "memory": lambda x: KEPT.set_(OTHER, 0, (4, 3)),
    "a moved tensor": lambda x: setattr(KEPT, "data", x * 2),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_into_what_stays_is_refused_before_it_happens(name: str) -> None:
    kept = [X, KEPT, MEAN, VAR]
    before = [(one.clone(), one.data_ptr()) for one in kept]

    def program(x: Tensor) -> Tensor:
        try:
            WRITES[name](x)
        except CaptureError:
            return x  # the program may catch the error
        return x + KEPT * MEAN.sum() * VAR.sum()

    with pytest.raises(CaptureError, match=r"that outlives the call|sets the data of"):
        watch(program, X)
    assert all(
        torch.equal(one, old) and one.data_ptr() == place for one, (old, place) in zip(kept, before, strict=True)
    )


def test_statistics_that_begin_to_be_updated_at_a_new_length_are_updated_once() -> None:
    def make(mean: Tensor) -> Callable[[Tensor], Tensor]:
        def program(x: Tensor) -> Tensor:
            h = F.batch_norm(x, mean, VAR.clone(), training=x.shape[0] > 6)
            for _ in range(6):
                h = torch.tanh(h * 0.5)
            return h

        return program

    ours, theirs = torch.zeros(3), torch.zeros(3)
    fast = fxsolve.compile(make(ours), backend="eager", schedule="gs")
    for n in (5, 5, 6, 6, 7, 7, 8):
        x = torch.rand(n, 3)
        assert torch.equal(fast(x), make(theirs)(x))
        assert torch.equal(ours, theirs)
