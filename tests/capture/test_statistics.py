"""A normalization that updates its running statistics is recorded as the write that it is."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.capture.record.statistics import keeps_statistics, record_normalization, updates_statistics
from fxsolve.errors import SideEffectError
from tests.capture.recording import recorder_of, targets

aten = torch.ops.aten
X = torch.rand(4, 3)
Statistics = tuple[Tensor | None, Tensor | None]


def arguments(statistics: Statistics, train: bool) -> tuple[object, ...]:
    return X, None, None, *statistics, train, 0.1, 1e-5


def statistics() -> Statistics:
    return torch.zeros(3), torch.ones(3)


@pytest.mark.parametrize("has_statistics", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_a_call_updates_statistics_where_it_changes_them(train: bool, has_statistics: bool) -> None:
    if not (train or has_statistics):
        return  # no such call
    kept = statistics() if has_statistics else (None, None)
    args = arguments(kept, train)
    aten.native_batch_norm.default(*args)
    is_changed = kept[0] is not None and bool(kept[0].any())
    assert updates_statistics(aten.native_batch_norm.default, args) == is_changed
    assert keeps_statistics(aten.native_batch_norm.default)


def test_operators_that_say_what_they_write_are_none_of_these() -> None:
    args = arguments(statistics(), train=True)
    assert not updates_statistics(aten._native_batch_norm_legit.default, args)
    assert not keeps_statistics(aten._native_batch_norm_legit.default)


def test_a_call_without_an_update_is_written_down_as_it_is() -> None:
    kept = statistics()
    recorder = recorder_of((X, *kept))
    found = record_normalization(recorder, aten.native_batch_norm.default, arguments(kept, train=False), {})
    assert all(map(torch.equal, found, aten.native_batch_norm.default(*arguments(kept, train=False))))
    assert targets(recorder)[0] is aten.native_batch_norm.default


@pytest.mark.parametrize("train", [False, True])
def test_a_normalization_of_the_program_says_what_it_writes(train: bool) -> None:
    kept, own = statistics(), statistics()
    recorder = recorder_of((X, *kept))
    with recorder:
        found = F.batch_norm(X, *kept, training=train)
    assert all(map(torch.equal, (found, *kept), (F.batch_norm(X, *own, training=train), *own)))
    assert [one.external.place for one in recorder.externals.written] == ([1, 2] if train else [])


def test_an_update_that_no_operator_declares_is_refused() -> None:
    args = (X, *statistics(), 0.1)
    with pytest.raises(
        SideEffectError, match=r"batch_norm_update_stats\S* updates running statistics unseen; call it in"
    ):
        record_normalization(recorder_of(), aten.batch_norm_update_stats.default, args, {})
