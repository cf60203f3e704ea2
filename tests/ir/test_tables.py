"""The numbers of a table are the same as a tensor and as a range."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.spec import Repeat, Table
from fxsolve.ir.tables import as_range, device_of, table_tensor
from fxsolve.ir.tensor_spec import spec_of

CPU = torch.device("cpu")


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=4) | st.builds(range, st.integers(0, 2), st.integers(3, 9)))
def test_a_range_is_found_where_there_is_one_that_gives_these_numbers(given: Sequence[int]) -> None:
    numbers = list(given)
    distances = [distance for distance in range(-6, 7) if distance]
    possible = [range(numbers[0], numbers[0] + k * len(numbers), k) for k in distances]
    found = as_range(numbers)
    assert (found is not None) == any(list(candidate) == numbers for candidate in possible)
    assert found is None or list(found) == numbers


@pytest.mark.parametrize("numbers", [[0.0, 1.0], [0, 1, 2.5], [4, 4]])
def test_fractions_and_equal_numbers_have_no_range(numbers: list[int | float]) -> None:
    assert as_range(numbers) is None


@given(st.lists(st.integers(-(2**40), 2**40) | st.floats(allow_nan=False), min_size=1))
def test_a_tensor_of_a_table_holds_its_numbers_without_rounding(numbers: list[int | float]) -> None:
    tensor = table_tensor(Table(tuple(numbers)), CPU)
    assert tensor.tolist() == numbers
    assert tensor.dtype.is_floating_point == any(isinstance(number, float) for number in numbers)


def test_the_device_of_a_repeat_is_that_of_its_tensors() -> None:
    assert device_of(reading(None)) == CPU
    assert device_of(reading(None, spec_of(torch.empty(2, device="meta")))).type == "meta"


def reading(*specs: object) -> Repeat:
    graph = fx.Graph()
    graph.output(tuple(add_placeholder(graph, "x", spec) for spec in specs))
    return Repeat("cell", fx.GraphModule({}, graph), 1, (), ())
