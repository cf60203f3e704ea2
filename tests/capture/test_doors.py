"""Ways to other processes and threads that pass no operator are watched where a run is followed, and there alone."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.futures import Future

from fxsolve.capture.record.doors import watched_doors
from fxsolve.errors import CaptureError, CommunicationError
from fxsolve.torch_compat.processes import VALUES_OF_FUTURES
from tests.capture.recording import recorder_of

X = torch.rand(3)
FOREIGN = torch.rand(3)


def future_of(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


WAYS: dict[str, Callable[[Future[Any]], Any]] = {
    "wait": lambda future: future.wait(),
    "value": lambda future: future.value(),
    "torch.jit.wait": torch.jit.wait,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
def test_a_value_of_a_future_that_the_run_did_not_make_comes_from_elsewhere(way: str) -> None:
    recorder = recorder_of((X,))
    with watched_doors(), recorder:
        own = X * 2
        assert WAYS[way](future_of([own, X, 3]))[0] is own
        assert not recorder.line.used
        assert WAYS[way](future_of({"a": FOREIGN}))["a"] is FOREIGN
    assert "a torch.futures.Future of another process or thread communicates" in recorder.line.used


def test_a_run_that_must_not_communicate_is_refused_and_stays_so() -> None:
    recorder = recorder_of((X,), is_open=False)
    with watched_doors(), recorder:
        for _ in range(2):  # also if the program catches the first error
            with pytest.raises(CommunicationError, match=r"test_doors\.py:\d+: a torch\.futures\.Future"):
                future_of(FOREIGN).wait()
    assert isinstance(recorder.error, CommunicationError)


def test_a_run_that_is_refused_already_is_ended_with_its_own_error() -> None:
    recorder = recorder_of((X,))
    recorder.error = CaptureError("the first one")
    with watched_doors(), recorder, pytest.raises(CaptureError, match="the first one"):
        future_of(FOREIGN).wait()


def test_the_forward_pass_that_prepares_averaged_gradients_is_a_door() -> None:
    class Wrapper(nn.parallel.DistributedDataParallel):
        def __init__(self) -> None:
            nn.Module.__init__(self)

    recorder = recorder_of((X,), is_open=False)
    with watched_doors(), recorder, pytest.raises(CommunicationError, match="DistributedDataParallel communicates"):
        Wrapper().forward(X)


def test_without_a_followed_run_the_doors_are_open_and_behind_the_body_they_are_as_before() -> None:
    before = [getattr(owner, name) for owner, name in VALUES_OF_FUTURES]
    with watched_doors():
        assert [getattr(owner, name) for owner, name in VALUES_OF_FUTURES] != before
        assert future_of(FOREIGN).wait() is FOREIGN
    assert [getattr(owner, name) for owner, name in VALUES_OF_FUTURES] == before


def test_another_thread_passes_as_ever() -> None:
    recorder, found = recorder_of((X,), is_open=False), list[Tensor]()
    with watched_doors(), recorder:
        thread = threading.Thread(target=lambda: found.append(future_of(FOREIGN).wait()))
        thread.start()
        thread.join()
    assert found == [FOREIGN]
    assert recorder.error is None
