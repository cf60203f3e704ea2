import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.errors import GuardError
from fxsolve.solvers.guard import check_guards


def tensor_of(number: bool | int | float | complex) -> Tensor:
    dtype = torch.float64 if isinstance(number, float) else torch.complex128 if isinstance(number, complex) else None
    return torch.tensor(number, dtype=dtype)


numbers = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.complex_numbers()


@given(st.lists(numbers, max_size=8))
def test_values_that_read_the_same_pass(expected: list[bool | int | float | complex]) -> None:
    check_guards(tuple(map(tensor_of, expected)), tuple(expected))


@given(st.lists(numbers, min_size=1, max_size=8), st.data())
def test_the_first_value_that_differs_is_named(
    expected: list[bool | int | float | complex], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(expected) - 1))
    values = [tensor_of(number) for number in expected]
    values[at] = torch.tensor(6 if expected[at] == 5 else 5)
    with pytest.raises(GuardError, match=f"guard {at} read"):
        check_guards(tuple(values), tuple(expected))


def test_large_integers_are_compared_exactly() -> None:
    with pytest.raises(GuardError, match="guard 0 read 9007199254740993, but 9007199254740992 was read"):
        check_guards((torch.tensor(2**53 + 1),), (2**53,))


def test_a_sign_of_zero_differs_and_nan_does_not() -> None:
    check_guards((torch.tensor(math.nan),), (math.nan,))
    with pytest.raises(GuardError, match=r"read -0.0, but 0.0 was read"):
        check_guards((torch.tensor(-0.0),), (0.0,))


def test_one_element_tensors_of_any_shape_and_type_are_read() -> None:
    values = (torch.ones(1, 1), torch.tensor([2], dtype=torch.int16), torch.tensor(0.5).bfloat16(), torch.tensor(True))
    check_guards(values, (1.0, 2, 0.5, True))


def test_no_guard_needs_no_read() -> None:
    check_guards((), ())


def test_all_values_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    transfer = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: reads.append(self.shape) or transfer(self))
    check_guards((*map(torch.tensor, map(float, range(50))), torch.tensor(3)), (*map(float, range(50)), 3))
    assert reads == [(51,)]


@given(st.lists(st.floats(), min_size=2, max_size=8), st.data())
def test_what_the_steps_of_a_loop_read_is_one_vector(expected: list[float], data: st.DataObject) -> None:
    vector = torch.tensor(expected, dtype=torch.float64)
    check_guards((torch.tensor(3), vector.clone()), (3, vector), (4, 5))
    step = data.draw(st.integers(0, len(expected) - 1))
    other = vector.clone()
    other[step] = -1.5 if expected[step] == 1.5 else 1.5
    with pytest.raises(GuardError, match=f"guard 5, step {step}, read -?1.5, but .* was read") as caught:
        check_guards((torch.tensor(3), other), (3, vector), (4, 5))
    assert caught.value.number == 5
