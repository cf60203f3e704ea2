"""Values in another layout in memory."""

import torch
from torch import Tensor


def laid_out(values: Tensor, stride: tuple[int, ...]) -> Tensor:
    """A copy of the values with these strides, which may leave gaps between entries.

    Along dimensions of stride 0 the values must be the same: they share memory there.
    """
    room = torch.empty_strided(values.shape, stride, dtype=values.dtype, device=values.device)
    place = room
    for dim, (size, step) in enumerate(zip(values.shape, stride, strict=True)):
        if size > 1 and step == 0:
            place, values = place.narrow(dim, 0, 1), values.narrow(dim, 0, 1)
    place.copy_(values)
    return room
