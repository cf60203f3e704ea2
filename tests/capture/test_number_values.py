"""Numbers that are followed: Python's, and the tensors that hold them."""

import math
import operator
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor

from fxsolve.capture.numbers.builtins import followed_builtins
from fxsolve.capture.numbers.values import Float, Int, Returned, is_number, is_read_alone
from fxsolve.capture.numbers.watch import NumberWatch
from fxsolve.errors import CaptureError

HERE = globals()


def refuse(error: CaptureError) -> NoReturn:
    raise error


def watch() -> NumberWatch:
    return NumberWatch(refuse, (HERE,))


def number(value: float) -> Any:
    return watch().number(value, torch.tensor(value, dtype=torch.float64 if type(value) is float else torch.int64))


@pytest.mark.parametrize("function", [operator.add, operator.sub, operator.mul, operator.truediv])
@pytest.mark.parametrize(("one", "other"), [(0.1, 0.7), (3, 0.3), (0.3, 7), (3, 7)])
def test_arithmetic_gives_the_number_and_a_tensor_of_it(function: Callable[..., Any], one: float, other: float) -> None:
    wanted = function(one, other)
    for found in (function(number(one), other), function(one, number(other)), function(number(one), number(other))):
        assert is_number(found)
        assert type(found.value) is type(wanted)
        assert found.value == wanted == found.tensor.item()


@pytest.mark.parametrize("function", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_a_comparison_is_a_bool(function: Callable[..., Any]) -> None:
    for one, other in ((0.5, 0.5), (1, 0.5), (0.25, 3)):
        assert function(number(one), other) is function(one, other)
        assert function(number(one), number(other)) is function(one, other)


def test_what_is_not_known_is_done_with_the_number_itself() -> None:
    assert f"{number(2.5):.2f}" == "2.50"
    assert number(7) // 2 == 3
    assert [10, 20, 30][number(1)] == 20
    assert isinstance(number(2.5), float)
    assert isinstance(number(2), int)


def test_a_number_that_torch_has_otherwise_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"a number is 0\.1 in Python and 0\.2"):
        watch().number(0.1, torch.tensor(0.2, dtype=torch.float64))


def test_only_single_real_and_whole_numbers_are_followed() -> None:
    assert is_read_alone(torch.ones(1, 1))
    assert not is_read_alone(torch.ones(2))
    assert not is_read_alone(torch.ones(1, dtype=torch.complex64))
    assert not is_read_alone(torch.ones(1, dtype=torch.bool))


def test_the_watch_reads_and_hands_on() -> None:
    one = watch()
    x = torch.tensor([3.0, 4.0])

    def program() -> Any:
        size = x.norm().item()
        assert type(size) is Float
        count = torch.tensor(3).item()
        assert type(count) is Int
        return x / size, size

    quotient, size = one.run(program)
    assert torch.equal(quotient, x / 5)
    assert isinstance(size, Returned)
    assert size.tensor.item() == 5.0


def test_a_number_that_outlives_the_run_is_told() -> None:
    one = watch()
    kept = one.read(torch.tensor(1.5))
    with pytest.raises(CaptureError, match="the program keeps a number"):
        one.check()
    del kept
    one.check()


def size_of(x: Tensor) -> Any:
    return float(x.norm())


def test_builtins_are_followed_in_the_body_alone() -> None:
    x = torch.tensor([3.0, 4.0])
    with followed_builtins(watch(), (HERE,)):
        found = size_of(x)
        assert type(found) is Float
        root = math.sqrt(found)
        assert root.value == math.sqrt(5.0)
        assert float("1.5") == 1.5
        assert int(2.7) == 2
    assert type(size_of(x)) is float
    assert "float" not in HERE
    assert not hasattr(math.sqrt, "__wrapped__")


def test_other_threads_have_the_builtins_as_they_are() -> None:
    x, seen = torch.tensor([3.0, 4.0]), []
    with followed_builtins(watch(), (HERE,)):
        thread = threading.Thread(target=lambda: seen.append((type(size_of(x)), type(math.sqrt(4.0)))))
        thread.start()
        thread.join()
    assert seen == [(float, float)]


def test_the_last_of_two_threads_puts_the_names_back() -> None:
    """Whichever begins, or ends, first."""
    x, seen = torch.tensor([3.0, 4.0]), []
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with followed_builtins(watch(), (HERE,)):
            inside.set()
            leave.wait(5)
            seen.append(type(size_of(x)))

    thread = threading.Thread(target=other)
    with followed_builtins(watch(), (HERE,)):
        thread.start()
        inside.wait(5)
        assert type(size_of(x)) is Float
    assert "float" in HERE
    plain = type(size_of(x))
    leave.set()
    thread.join()
    assert plain is float  # whose name here was another thread's before
    assert seen == [Float]
    assert "float" not in HERE
    assert not hasattr(math.sqrt, "__wrapped__")
