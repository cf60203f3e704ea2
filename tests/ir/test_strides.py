"""What a spec says about memory agrees with torch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.ir.strides import can_be_laid_out, is_contiguous, overlaps
from fxsolve.ir.tensor_spec import spec_of


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Sizes and strides of a tensor of up to three dimensions."""
    sizes = draw(st.lists(st.integers(0, 3), max_size=3))
    return sizes, draw(st.lists(st.integers(0, 9), min_size=len(sizes), max_size=len(sizes)))


@given(layouts())
def test_contiguous_is_what_torch_calls_contiguous(layout: tuple[list[int], list[int]]) -> None:
    tensor = torch.empty_strided(*layout)
    if tensor.numel():
        assert is_contiguous(spec_of(tensor)) == tensor.is_contiguous()


@given(layouts())
def test_entries_that_share_memory_are_seen(layout: tuple[list[int], list[int]]) -> None:
    tensor = torch.empty_strided(*layout)
    addresses = sum(
        torch.arange(size).mul(stride).view([-1 if k == place else 1 for k in range(tensor.dim())])
        for place, (size, stride) in enumerate(zip(*layout, strict=True))
    )
    shared = isinstance(addresses, torch.Tensor) and len(addresses.unique()) < tensor.numel()
    assert overlaps(spec_of(tensor)) or not shared


@given(layouts())
def test_what_can_be_laid_out_is_what_copies_into_it_fill(layout: tuple[list[int], list[int]]) -> None:
    """But for dimensions along which all entries are one."""
    tensor = torch.empty_strided(*layout)
    kept = tuple(slice(None) if stride else slice(1) for stride in tensor.stride())
    if can_be_laid_out(spec_of(tensor)) and tensor.numel():
        numbers = torch.arange(tensor[kept].numel()).view(tensor[kept].shape)
        assert torch.equal(tensor[kept].copy_(numbers).long(), numbers)
    else:
        assert overlaps(spec_of(tensor)) or not tensor.numel()
