"""A graph is compiled at its first call, and runs on tensors laid out as those of that call and on no others."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.solvers.chunk import Chunk


class Counted(Chunk):
    """Notes what it is compiled for."""

    def __init__(self) -> None:
        super().__init__(nn.Tanh())
        self.shapes: list[torch.Size] = []

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        self.shapes.append(inputs[0].shape)
        return lambda x: (self.module(held(x)),)


def held(x: Tensor) -> Tensor:
    """The memory of a tensor, as compiled code reads it: without a look at its flags."""
    return torch.frombuffer(bytearray(x.untyped_storage().tolist()), dtype=x.dtype).as_strided(x.shape, x.stride())


X = torch.arange(6.0).reshape(2, 3)
OTHERS = {"strides": X.T.contiguous().T, "shape": X.reshape(3, 2), "dtype": X.double(), "device": X.to("meta")}


def test_it_is_compiled_once_for_the_tensors_of_its_first_call() -> None:
    chunk = Counted()
    assert chunk.shapes == []
    for x in (X, X + 1):
        assert torch.equal(chunk(x)[0], x.tanh())
        assert torch.equal(chunk.code_for((x,))(x)[0], x.tanh())
    assert chunk.shapes == [(2, 3)]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_it_does_not_run_on_what_is_laid_out_in_another_way(other: Tensor) -> None:
    chunk = Counted()
    chunk(X)
    with pytest.raises(ValueError, match="laid out as those were not that the graph was compiled for"):
        chunk(other)


def test_strides_of_dimensions_of_size_one_do_not_count() -> None:
    chunk, row = Counted(), torch.ones(1, 3)
    chunk(row)
    assert torch.equal(chunk(torch.ones(4, 3).as_strided((1, 3), (7, 1)))[0], row.tanh())


def test_what_a_flag_negates_is_negated_in_memory() -> None:
    part = torch.complex(X, X + 1).conj().imag
    assert part.is_neg()
    assert torch.equal(Counted()(part)[0], (-X - 1).tanh())


def test_a_copy_is_compiled_anew() -> None:
    chunk = Counted()
    chunk(torch.ones(2))
    for other in (copy.deepcopy(chunk), pickle.loads(pickle.dumps(chunk))):
        other(torch.ones(4))
        assert other.shapes == [(2,), (4,)]
