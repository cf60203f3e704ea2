import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.solvers.bitwise import differs, unchanged_steps
from fxsolve.solvers.norms import measure
from fxsolve.solvers.stop import Stop

entries = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5)


@given(entries, st.floats(0, 1), st.floats(0, 1), st.data())
def test_the_test_holds_exactly_where_the_change_of_every_step_satisfies_it(
    old: list[float], atol: float, rtol: float, data: st.DataObject
) -> None:
    new = [value + data.draw(st.floats(-2, 2)) for value in old]
    a, b = torch.tensor(new, dtype=torch.float64), torch.tensor(old, dtype=torch.float64)
    pairs = list(zip(new, [new[0], *new], old, strict=False))
    margin = max(abs(s - was) - atol - rtol * max(abs(s), abs(before)) for s, before, was in pairs)
    change = measure([(a, b)], Stop(atol, rtol))
    if abs(margin) > 1e-9 and atol + rtol > 0:
        assert change.converged == (margin <= 0)
    assert change.size == (a - b).abs().max().item()
    assert change.finite


@pytest.mark.parametrize("stop", [Stop(), Stop(1e-3), Stop(1e-3, 1e-3), Stop(0.0, 1e-3)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_entries_neither_converge_nor_hide(stop: Stop, bad: float) -> None:
    value = torch.tensor([1.0, bad])
    for pair in [(value, value), (value, torch.ones(2)), (torch.ones(2), value)]:
        change = measure([(torch.zeros(1), torch.zeros(1)), pair], stop)
        assert (change.converged, change.exact, change.finite) == (False, False, False)


def test_without_tolerance_a_sign_of_zero_is_a_change_of_size_0() -> None:
    pair = (torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not measure([pair], Stop()).converged
    assert measure([pair], Stop(1e-9)).converged
    assert measure([pair], Stop()).size == 0.0


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_discrete_states_must_be_equal_whatever_the_tolerance(dtype: torch.dtype) -> None:
    zero, one = torch.zeros(3, dtype=dtype), torch.tensor([0, 0, 1]).to(dtype)
    assert measure([(zero, zero.clone())], Stop(9.0, 9.0)).exact
    assert not measure([(one, zero)], Stop(9.0, 9.0)).converged


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64, torch.complex128])
def test_every_floating_type_is_measured(dtype: torch.dtype) -> None:
    old = torch.tensor([1.0, 2.0]).to(dtype)
    new = torch.tensor([1.0, 2.5]).to(dtype)
    change = measure([(new, old)], Stop(0.25, 0.125))
    assert (change.size, change.converged, change.exact) == (0.5, True, False)
    assert not measure([(new, old)], Stop(0.25, 0.0625)).converged
    assert measure([(new, new.clone())], Stop()).exact


def test_states_of_different_types_are_tested_together() -> None:
    floats = (torch.tensor([1.0]), torch.tensor([1.5]))
    integers = (torch.tensor([2**40]), torch.tensor([2**40]))
    assert measure([floats, integers], Stop(0.5)).converged
    assert not measure([floats, integers], Stop(0.4)).converged
    assert not measure([floats, (integers[0], integers[1] + 1)], Stop(0.5)).converged


def test_nothing_to_compare_has_converged() -> None:
    assert measure([], Stop()).exact
    assert measure([(torch.empty(0, 3), torch.empty(0, 3))], Stop()).exact


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6), st.data())
def test_any_one_bit_that_differs_is_seen(values: list[int], data: st.DataObject) -> None:
    new = torch.tensor(values)
    old = new.clone()
    assert not differs(new, old)
    at, bit = data.draw(st.integers(0, len(values) - 1)), data.draw(st.integers(0, 63))
    old[at] ^= 1 << bit if bit < 63 else -(2**63)
    assert differs(new, old)
    assert unchanged_steps([(new, new), (new, old)], len(values)) == at


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 1, 3)])
def test_the_unchanged_steps_end_at_the_first_change_of_any_state(shape: tuple[int, ...]) -> None:
    new = torch.zeros(shape)
    nan = torch.full(shape, math.nan)
    assert unchanged_steps([(new, new.clone()), (nan, nan.clone())], 4) == 4
    late, early = new.clone(), new.clone()
    late[3], early[1] = 1, -0.0
    assert unchanged_steps([(new, late), (new, early)], 4) == 1
    assert unchanged_steps([(torch.empty(4, 0), torch.empty(4, 0))], 4) == 4


def test_complex_conjugates_and_negatives_are_compared_by_value() -> None:
    value = torch.tensor([1 + 2j, 3 - 4j])
    assert not differs(value.conj(), value.conj().resolve_conj())
    assert differs(value.conj(), value)
    imaginary: Tensor = value.conj().imag
    assert not differs(imaginary, imaginary.resolve_neg())
