"""Two calls have one key where one recording serves both; families leave lengths out; changes are named."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fxsolve.errors import CaptureError
from fxsolve.runtime.guard_keys import Reader, changed_part, describe_call, family_of, is_observed
from fxsolve.runtime.modes import as_written
from tests.runtime.building import numbers


def program(*args: Any, **kwargs: Any) -> None:
    """Anything: its calls are read and not made."""


def key(*args: Any, **kwargs: Any) -> Any:
    return READER.read(args, kwargs).key


READER = Reader(program)
X, Y = numbers(4, 3), numbers(5, 3)[:4]

SAME: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "other numbers": ((X,), (Y,)),
    "plain arguments": ((X, 2, "a", None, True), (Y, 2, "a", None, True)),
    "containers": (([X, {"k": (X, 1)}],), ([X, {"k": (X, 1)}],)),
    "not a number": ((float("nan"),), (float("nan"),)),
}

OTHER: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "a shape": ((X,), (X[:3],)),
    "strides": ((X,), (numbers(3, 4).t(),)),
    "a dtype": ((X,), (X.float(),)),
    "wanting a gradient": ((X,), (X.clone().requires_grad_(),)),
    "a parameter": ((X,), (nn.Parameter(X, requires_grad=False),)),
    "the order": ((X, 2), (2, X)),
    "a number": ((X, 2), (X, 3)),
    "the type of a number": ((X, 2), (X, 2.0)),
    "the sign of zero": ((0.0,), (-0.0,)),
    "one tensor twice": ((X, X), (X, X.clone())),
    "one memory": ((X, X[:]), (X, X.clone())),
    "a container": (([X],), ((X,),)),
    "a key": (({"a": X},), ({"b": X},)),
    "one argument more": ((X,), (X, None)),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_calls_that_one_recording_serves_have_one_key(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert key(*one) == key(*other)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_other_calls_have_another_key(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert key(*one) != key(*other)


def test_an_argument_by_name_is_another_call_than_by_place() -> None:
    assert key(X) != key(x=X)
    assert key(x=X, y=Y) != key(y=X, x=Y)


MODES: dict[str, Callable[[], Any]] = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another autocast": lambda: torch.autocast("cpu", torch.float16),
    "a device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_mode_of_torch_is_part_of_the_key(mode: Callable[[], Any]) -> None:
    before = key(X)
    with mode():
        inside = key(X)
        assert inside != before
        assert changed_part(before, inside) == "a mode of torch"
    assert key(X) == before


def test_the_default_dtype_and_deterministic_algorithms_are_part_of_the_key() -> None:
    before = key(X)
    torch.set_default_dtype(torch.float64)
    try:
        assert key(X) != before
    finally:
        torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        assert key(X) != before
    finally:
        torch.use_deterministic_algorithms(False)
    assert key(X) == before


def test_tensors_come_in_the_order_of_the_arguments() -> None:
    call = READER.read((X, [Y, {"k": X}], 3), {"more": Y})
    assert [id(one) for one in call.tensors] == [id(one) for one in (X, Y, X, Y)]
    assert describe_call(call) == ", ".join(["float64[4, 3]"] * 4)
    assert describe_call(READER.read((3,), {})) == "no tensors"


def test_what_is_watched_of_arguments_is_part_of_the_key() -> None:
    model = nn.Linear(2, 2)
    before = key(X, model)
    assert key(X, model) == before
    model.eval()
    assert key(X, model) != before
    assert key(X, nn.Linear(2, 2)) != before


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        (iter([1]), "list_iterator, which gives other items at the next call"),
        (np.zeros(2), "ndarray, whose values may change unseen; pass tensors or numbers"),
        (bytearray(2), "bytearray, whose values may change unseen"),
    ],
    ids=["an iterator", "an array", "a bytearray"],
)
def test_an_argument_that_may_change_unseen_is_refused(argument: Any, reason: str) -> None:
    with pytest.raises(CaptureError, match=reason):
        key(X, argument)


def test_a_family_is_a_call_without_its_lengths() -> None:
    def family(*args: Any) -> Any:
        return family_of(READER.read(args, {}))

    assert family(X, 3) == family(numbers(9, 3), 7)
    assert family(X, 3) != family(X, 3.0)
    assert family(X, True) != family(X, False)
    assert family(X) != family(X.float())
    assert family(X) != family(X[0])
    assert family(X, X) != family(X, Y)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain, self.options = 1.0, {"scale": 2.0}

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda model: setattr(model, "gain", 2.0), "the attribute gain"),
        (lambda model: model.options.update(scale=3.0), "the attribute options"),
        (lambda model: model.eval(), "the attribute training"),
    ],
    ids=["a number", "a container", "a flag"],
)
def test_what_changed_in_a_program_is_named(change: Callable[[Model], Any], part: str) -> None:
    model = Model()
    reader = Reader(model)
    call = reader.read((X,), {})
    assert reader.is_unchanged(call)
    change(model)
    assert not reader.is_unchanged(call)
    assert changed_part(call.key, reader.read((X,), {}).key) == part
    assert changed_part(call.key, reader.read((X, 1), {}).key) == "the form of the arguments"


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Function(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


OBSERVERS: dict[str, Callable[[], Any]] = {
    "a dispatch mode": Dispatch,
    "a function mode": Function,
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "forward mode": forward_ad.dual_level,
    "saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x),
    "as written": as_written,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("observer", OBSERVERS.values(), ids=OBSERVERS)
def test_whoever_follows_the_operations_is_noticed(observer: Callable[[], Any]) -> None:
    assert not is_observed()
    with observer():
        assert is_observed()
    assert not is_observed()


def test_a_transform_is_noticed_and_a_default_device_is_none() -> None:
    found: list[bool] = []

    def look(x: Tensor) -> Tensor:
        found.append(is_observed())
        return x

    torch.func.vmap(look)(X)
    with torch.device("cpu"):
        look(X)
    assert found == [True, False]


def test_an_observer_of_another_thread_is_none() -> None:
    found: list[bool] = []
    with as_written(), Dispatch():
        thread = threading.Thread(target=lambda: found.append(is_observed()))
        thread.start()
        thread.join()
    assert found == [False]
