"""Tensors that lie in memory in many ways."""

import torch
from hypothesis import strategies as st
from torch import Tensor


@st.composite
def layouts(draw: st.DrawFn) -> Tensor:
    """A tensor of up to 24 entries: dimensions exchanged, some of them expanded, every second entry, or as it is."""
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    x = x.permute(draw(st.permutations(range(x.dim()))))
    kind = draw(st.sampled_from(["as it is", "gaps", "expanded", "one more"]))
    if kind == "gaps" and x.dim():
        return x.repeat_interleave(2, -1)[..., ::2]
    if kind == "expanded" and x.dim():
        return x[..., :1].expand(x.shape)
    return x.unsqueeze(draw(st.integers(0, x.dim()))) if kind == "one more" else x
