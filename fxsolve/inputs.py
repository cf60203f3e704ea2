"""Tensors from the text of their dtype and shape, f32[16,128,8]."""

import re

import torch
from torch import Tensor

from fxsolve.errors import InputError

DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "bool": torch.bool,
}
_FORM = re.compile(r"(?P<dtype>\w+)\[(?P<shape>(\d+(,\d+)*)?)\]")


def noise(text: str) -> Tensor:
    """Normal noise of this dtype and shape, the same in every run; integers and booleans are 0 and 1.

    Raises `InputError` for text of another form.
    """
    found = _FORM.fullmatch(text.replace(" ", ""))
    dtype = DTYPES.get(found["dtype"]) if found else None
    if found is None or dtype is None:
        raise InputError(f"{text!r} is no input such as f32[16,128,8]; dtypes are {', '.join(DTYPES)}")
    shape = [int(size) for size in found["shape"].split(",") if size]
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(dtype) if dtype.is_floating_point else (drawn > 0).to(dtype)
