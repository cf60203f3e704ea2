"""Values are the same wherever they lie in memory."""

import pytest
import torch

from fxsolve.solvers.strides import laid_out
from fxsolve.state.memory import storage_of

LAYOUTS = {
    "in order": ((2, 3), (3, 1)),
    "turned": ((2, 3), (1, 2)),
    "gaps": ((2, 3), (8, 2)),
    "shared": ((2, 3), (0, 1)),
    "one entry": ((1, 3), (7, 1)),
    "one entry, shared": ((1, 3), (0, 1)),
    "all shared": ((2, 3), (0, 0)),
    "empty": ((0, 3), (3, 1)),
    "a number": ((), ()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_has_the_strides_that_are_wanted(layout: str) -> None:
    shape, stride = LAYOUTS[layout]
    free = [size if step else 1 for size, step in zip(shape, stride, strict=True)]
    values = torch.randn(free).expand(shape).contiguous()
    found = laid_out(values, stride)
    assert torch.equal(found, values)
    assert found.stride() == stride
    assert storage_of(found) != storage_of(values)
