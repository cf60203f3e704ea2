"""A function that reads numbers only to check them gives what torch gives, and reads one number."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fxsolve.capture.record.checked import CHECKED
from fxsolve.capture.record.read_watch import ReadWatch
from tests.capture.recording import recorder_of

ENTRIES = st.lists(st.integers(-1, 4), max_size=6)


def checked(*args: Any) -> Any:
    """As the watch for reads calls it."""
    found = CHECKED[F.one_hot](*args)
    return F.one_hot(*args) if found is None else found


def outcome(function: Any, *args: Any) -> Any:
    """What the function gives, or the text of its error."""
    try:
        found = function(*args)
    except RuntimeError as error:
        return str(error)
    return found.dtype, found.shape, found.tolist()


@settings(deadline=None)
@given(ENTRIES, st.integers(-1, 6), st.sampled_from([torch.int64, torch.int32, torch.float32]), st.booleans())
def test_one_hot_gives_and_raises_what_torch_does(
    entries: list[int], classes: int, dtype: torch.dtype, is_column: bool
) -> None:
    tensor = torch.tensor(entries, dtype=dtype)
    tensor = tensor[:, None] if is_column else tensor
    assert outcome(checked, tensor, classes) == outcome(F.one_hot, tensor, classes)


@pytest.mark.parametrize(("classes", "expected"), [(4, [True]), (-1, [True, 3])])
def test_one_hot_is_one_guard_where_the_number_of_classes_is_given(classes: int, expected: list[Any]) -> None:
    x = torch.tensor([0, 3, 1])
    recorder = recorder_of((x,))
    with recorder, ReadWatch(recorder):
        found: Tensor = F.one_hot(x, classes)
    assert found.tolist() == torch.eye(4, dtype=torch.int64)[x].tolist()
    assert sorted(guard.expected for guard in recorder.guards) == expected


def test_one_hot_raises_in_a_recording_what_torch_raises() -> None:
    x = torch.tensor([0, 3, 1])
    recorder = recorder_of((x,))
    with (
        pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"),
        recorder,
        ReadWatch(recorder),
    ):
        F.one_hot(x, 3)
