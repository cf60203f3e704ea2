"""Tensors from the text of their dtype and shape."""

import pytest
import torch

from fxsolve.errors import InputError
from fxsolve.inputs import DTYPES, noise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("text", "shape"), [("[]", ()), ("[3]", (3,)), ("[2, 3,4]", (2, 3, 4)), ("[0,2]", (0, 2))])
def test_a_text_says_dtype_and_shape(dtype: str, text: str, shape: tuple[int, ...]) -> None:
    made = noise(dtype + text)
    assert made.shape == shape
    assert made.dtype == DTYPES[dtype]
    assert torch.equal(made, noise(dtype + text))


def test_whole_numbers_are_zero_and_one() -> None:
    assert set(noise("i64[100]").tolist()) == {0, 1}


@pytest.mark.parametrize("text", ["f32", "f8[3]", "f32[3", "f32[-1]", "f32[3,]", "3"])
def test_other_texts_are_answered_with_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError, match="is no input such as f32"):
        noise(text)
