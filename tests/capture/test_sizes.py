"""Where the size of a result depends on values, equal reads mean equal sizes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.capture.record.sizes import SIZES
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree
from tests.capture.recording import recorder_of

aten = torch.ops.aten
N = 4
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
CALLS: dict[OpOverload, Callable[[Tensor, Tensor], Arguments]] = {
    aten.nonzero.default: lambda x, _: ((x,), {}),
    aten.masked_select.default: lambda x, y: ((y[:1].float(), x > 0), {}),
    aten.index.Tensor: lambda x, y: ((y.expand(3, N).T, [x > 0, None]), {}),
    aten.repeat_interleave.Tensor: lambda x, _: ((x,), {}),
    aten.bincount.default: lambda x, y: ((x, y.float(), 2), {}),
    aten._unique2.default: lambda x, _: ((x,), {"return_counts": True}),
    aten.unique_consecutive.default: lambda x, _: ((x,), {}),
}


def reads_and_sizes(function: OpOverload, x: Tensor, y: Tensor) -> tuple[list[Any], list[torch.Size]]:
    args, kwargs = CALLS[function](x, y)
    recorder = recorder_of((x, y))
    with recorder:
        SIZES[function](*args, **kwargs)
    results = pytree.tree_leaves(function(*args, **kwargs))
    return [guard.expected for guard in recorder.guards], [one.shape for one in results]


VECTORS = st.lists(st.integers(0, 3), min_size=N, max_size=N).map(torch.tensor)


@pytest.mark.parametrize("function", CALLS)
def test_equal_reads_mean_equal_sizes(function: OpOverload) -> None:
    known: dict[Any, list[torch.Size]] = {}

    @settings(deadline=None)
    @given(VECTORS, VECTORS)
    def check(x: Tensor, y: Tensor) -> None:
        read, sizes = reads_and_sizes(function, x, y)
        assert len(read) == 1
        assert known.setdefault(*read, sizes) == sizes

    check()
    assert len(known) > 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=6, max_size=6), st.integers(0, 1))
def test_rows_are_counted_along_the_dimension_that_is_asked_for(entries: list[int], dim: int) -> None:
    x = torch.tensor(entries).reshape(2, 3)
    recorder = recorder_of((x,))
    with recorder:
        SIZES[aten.unique_consecutive.default](x, dim=dim)
    (guard,) = recorder.guards
    assert guard.expected == torch.unique_consecutive(x, dim=dim).shape[dim] - 1


def test_what_is_said_beforehand_is_not_read() -> None:
    x = torch.tensor([1, 2])
    for function, args, kwargs in (
        (aten.repeat_interleave.Tensor, (x,), {"output_size": 3}),
        (aten.index.Tensor, (x, [x - 1]), {}),
        (aten.bincount.default, (x[:0],), {}),
        (aten.linalg_lstsq.default, (x, x), {"driver": "gelsy"}),
    ):
        recorder = recorder_of((x,))
        with recorder:
            SIZES[function](*args, **kwargs)
        assert recorder.guards == []


def test_residuals_that_depend_on_ranks_are_refused_with_another_driver() -> None:
    tall = torch.rand(3, 2)
    with pytest.raises(CaptureError, match="residuals depends on ranks with driver='gelsd'; use driver='gelsy' or"):
        SIZES[aten.linalg_lstsq.default](tall, tall, driver="gelsd")
    SIZES[aten.linalg_lstsq.default](tall.T, tall.T, driver="gelsd")
