"""Compiled steps run on tensors laid out as those that they were compiled for, and on no others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.solvers.chunk import Chunk


class Doubled(Chunk):
    """Compiles to twice its input, and keeps what it was compiled for."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.compiled: list[tuple[int, ...]] = []

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        self.compiled += [one.stride() for one in inputs]
        return lambda x: (2 * x,)


X = torch.arange(6.0).reshape(2, 3)


def test_it_is_compiled_at_its_first_call_and_once() -> None:
    chunk = Doubled()
    assert torch.equal(chunk(X)[0], 2 * X)
    assert torch.equal(chunk.code_for((X + 1,))(X + 1)[0], 2 * X + 2)
    assert chunk.compiled == [(3, 1)]


@pytest.mark.parametrize(
    "other",
    [X.T.contiguous().T, X.reshape(3, 2), X.double(), X.to("meta")],
    ids=["strides", "shape", "dtype", "device"],
)
def test_it_does_not_run_on_what_is_laid_out_in_another_way(other: Tensor) -> None:
    chunk = Doubled()
    chunk(X)
    with pytest.raises(ValueError, match="laid out as those were not that the graph was compiled for"):
        chunk(other)


def test_strides_of_dimensions_of_size_one_do_not_count() -> None:
    chunk, row = Doubled(), torch.ones(1, 3)
    chunk(row)
    assert torch.equal(chunk(torch.ones(4, 3).as_strided((1, 3), (7, 1)))[0], 2 * row)
